"""`purser verify` as a script meets it: exit status, standard output, one line of error."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from operations.verify import Verdict, Window
from operations.verify.cut import ALWAYS_VISIBLE_AFTER, Cut
from tests.integration.verify.world import DAY, World

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
UNUSED_PORT = 9  # "discard": nothing listens there


def _purser(
    world: World, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "verify", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PURSER_POSTGRES_READER_DSN": world.database.reader,
            "PURSER_CLICKHOUSE_URL": world.clickhouse_url,
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_equal_is_status_0_and_a_table_for_people(world: World) -> None:
    answer = _purser(world)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.rstrip().endswith("EQUAL")
    assert "✗" not in answer.stdout


@pytest.mark.parametrize(
    ("shell", "status", "says"),
    [
        ("PYTHONIOENCODING=latin-1 {} | grep -c '^+ '; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {} | grep -q '^+ ' && exit 0", 0, ""),
        ("{} | head -1; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("{} --json > /dev/full", 2, "purser: the answer cannot be written to standard output (No"),
        ("{} >&-", 2, "purser: the answer cannot be written to standard output (Bad file"),
        ("{} 2>&- <&- | tail -1 | grep -qx EQUAL", 0, ""),
    ],
)
def test_equal_stays_equal_whatever_becomes_of_the_answer(
    world: World, shell: str, status: int, says: str
) -> None:
    command = f"{sys.executable} -c 'from cli.main import main; main()' verify"
    answer = subprocess.run(
        ["bash", "-c", shell.format(command)],
        cwd=ROOT,
        env={
            **os.environ,
            "PURSER_POSTGRES_READER_DSN": world.database.reader,
            "PURSER_CLICKHOUSE_URL": world.clickhouse_url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == status, answer
    # On a slow machine lines of progress come first.
    assert answer.stderr.rpartition("\n")[0].rpartition("\n")[2].startswith(says), answer
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("range_", "said"),
    [
        (["--since", "9999-12-31"], "no event from 9999-12-31 on, so nothing was compared"),
        (["--until", "0001-01-01"], "no event up to 0001-01-01, so nothing was compared"),
        (["--until", "1969-12-31"], "no event up to 1969-12-31, so nothing was compared"),
        (["--since", "2149-06-06", "--until", "9999-12-31"], "no event from 2149-06-06 to 9999"),
    ],
)
def test_a_range_without_events_proves_nothing(world: World, range_: list[str], said: str) -> None:
    since = date.fromisoformat(range_[1]) if range_[0] == "--since" else None
    until = date.fromisoformat(range_[-1]) if "--until" in range_ else None
    report = world.verify(window=Window(since=since, until=until))
    assert (report.verdict, report.postgres_events) == (Verdict.UNDECIDED, 0), report.to_json()
    assert said in report.reason


def test_a_range_without_events_is_status_2(world: World) -> None:
    answer = _purser(world, "--since", "9999-12-31")
    assert answer.returncode == 2, answer.stderr
    assert "COULD NOT TELL: there is no event from 9999-12-31 on" in " ".join(answer.stdout.split())


def test_an_empty_installation_is_equal_and_says_so(new_world: World) -> None:
    answer = _purser(new_world)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.rstrip().endswith(
        "EQUAL: both sides are empty, no event has been appended yet"
    )


def test_extra_rows_in_a_range_without_events_are_a_difference(world: World) -> None:
    world.run(
        "INSERT INTO payment_events_raw SELECT * REPLACE (generateUUIDv4() AS payment_id,"
        " occurred_at + INTERVAL 5 YEAR AS occurred_at) FROM payment_events_raw LIMIT 1"
    )
    report = world.verify(window=Window(since=date(2028, 1, 1)))
    assert report.verdict is Verdict.DIVERGED, report.to_json()


def test_diverged_is_status_1_and_the_row_is_named(world: World) -> None:
    world.replace("payment_events", "amount_minor + 1 AS amount_minor", "seq = 1")
    answer = _purser(world, "--rows", "1", "--timeout", "1")
    assert answer.returncode == 1, answer.stderr
    assert "DIVERGED: differences in payment_events" in answer.stdout
    assert "amount_minor should be" in answer.stdout
    assert "more; --rows shows more" in answer.stdout


@pytest.mark.parametrize(("held_back", "status"), [(False, 0), (True, 2)])
def test_json_is_one_object_whatever_the_verdict(
    world: World, held_back: bool, status: int
) -> None:
    if held_back:
        world.clear()
    answer = _purser(world, "--json", "--timeout", "0.5")
    assert answer.returncode == status, answer.stderr
    report = json.loads(answer.stdout)
    assert report["exit_status"] == status
    assert report["verdict"] == ("undecided" if held_back else "equal")
    assert {"cut", "window", "events", "checks", "reason", "seconds"} <= report.keys()


def test_a_window_is_given_by_its_days(world: World) -> None:
    answer = _purser(world, "--json", "--since", "2024-03-02", "--until", "2024-03-02")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["window"] == {"since": "2024-03-02", "until": "2024-03-02"}


def _broken_dsn(world: World, **parts: str | int) -> dict[str, str]:
    return {"PURSER_POSTGRES_READER_DSN": make_conninfo(world.database.reader, **parts)}


def _broken_url(world: World, **parts: str) -> dict[str, str]:
    return {"PURSER_CLICKHOUSE_URL": urlsplit(world.clickhouse_url)._replace(**parts).geturl()}


def _answers_2(world: World, environment: Mapping[str, str], *says: str) -> None:
    """Status 2, one line that says what is wrong, no stack trace, and JSON that says the same."""
    answer = _purser(world, "--json", "--timeout", "1", environment=environment)
    assert answer.returncode == 2, answer.stdout
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["verdict"], report["exit_status"]) == ("undecided", 2)
    for text in says:
        assert text in answer.stderr
        assert text in report["reason"]


def test_a_server_that_is_down_is_named(world: World) -> None:
    _answers_2(world, _broken_dsn(world, port=UNUSED_PORT), "PostgreSQL")
    netloc = f"purser:secret@127.0.0.1:{UNUSED_PORT}"
    _answers_2(world, _broken_url(world, netloc=netloc), "ClickHouse", f"127.0.0.1:{UNUSED_PORT}")


def test_wrong_addresses_are_named(world: World) -> None:
    _answers_2(world, {"PURSER_POSTGRES_READER_DSN": "no dsn at all"}, "PostgreSQL")
    _answers_2(world, {"PURSER_CLICKHOUSE_URL": "127.0.0.1:8123"}, "PURSER_CLICKHOUSE_URL")


def test_a_wrong_password_is_named_but_not_shown(world: World) -> None:
    parts = urlsplit(world.clickhouse_url)
    netloc = f"{parts.username}:not-the-secret@{parts.hostname}:{parts.port}"
    environment = _broken_url(world, netloc=netloc)
    _answers_2(world, environment, "PURSER_CLICKHOUSE_URL")
    assert "not-the-secret" not in _purser(world, environment=environment).stderr
    _answers_2(world, _broken_dsn(world, user="nobody_of_that_name"), "PostgreSQL")


def test_a_missing_or_newer_schema_is_named(new_world: World) -> None:
    _answers_2(new_world, _broken_url(new_world, path="/no_such_database"), "no_such_database")
    new_world.run("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_later', 'x')")
    _answers_2(new_world, {}, "newer than this code")
    with psycopg.connect(new_world.database.owner) as session:
        session.execute("INSERT INTO purser_migrations (name, checksum) VALUES ('9999_x', 'y')")
    _answers_2(new_world, {}, "PostgreSQL's schema is newer than this code")
    with psycopg.connect(new_world.database.owner) as session:
        session.execute("DROP TABLE purser_migrations")
    _answers_2(new_world, {}, "PostgreSQL has no Purser schema")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--timeout", "-1"], "timeout"),
        (["--rows", "1000"], "rows"),
        (["--since", "yesterday"], "--since"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "until"),
    ],
)
def test_a_bad_option_is_named(world: World, arguments: list[str], says: str) -> None:
    answer = _purser(world, *arguments)
    assert answer.returncode == 64
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_clickhouse_judges_rows_as_the_cut_does(world: World) -> None:
    """The one rule, in its two languages, near every edge of it."""
    for xmin, xmax, running in [
        (1000, 1000, ()),
        (1000, 1010, (1000, 1003)),
        (2**32 - 3, 2**32 + 4, (2**32 - 2, 2**32 + 1)),
        (5 * 2**32 + 2**31, 5 * 2**32 + 2**31 + 5, (5 * 2**32 + 2**31,)),
    ]:
        cut = Cut(xmin=xmin, xmax=xmax, in_progress=running, taken_at=DAY)
        near = [(xmin + offset) % 2**32 for offset in (-(2**31) + 1, *range(-4, 12), 2**31 - 1)]
        rows = [
            (txid, op, DAY - age)
            for txid in near
            for op in ("c", "r")
            for age in (
                timedelta(0),
                ALWAYS_VISIBLE_AFTER,
                ALWAYS_VISIBLE_AFTER + timedelta(microseconds=1),
            )
        ]
        values = ", ".join(
            f"({txid}, '{op}', toDateTime64('{moment:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC'))"
            for txid, op, moment in rows
        )
        answer = world.client.query(
            f"SELECT {cut.clickhouse_condition()} FROM values('txid UInt32, op String,"
            f" recorded_at DateTime64(6, \\'UTC\\')', {values})"
        ).result_rows
        expected = [cut.holds(txid, op=op, recorded_at=moment) for txid, op, moment in rows]
        assert [bool(row[0]) for row in answer] == expected
        assert {True, False} == set(expected)

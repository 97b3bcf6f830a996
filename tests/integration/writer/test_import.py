"""`purser import` as a process of its own against a real PostgreSQL."""

import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from schemas.money import CURRENCY_ENDS, CURRENCY_EXPONENTS
from tests.histories import ROWS_OF_A_LIFE, a_history, a_life, an_event, write_lines
from tests.integration.postgres.database import Database
from tests.times import REFUSED, TAKEN
from tests.waiting import wait_until

LIVES = 3_000
PATIENCE_SECONDS = 120


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cli.main import main; main()", "import", *arguments]


def environment(database: Database) -> dict[str, str]:
    return os.environ | {"PURSER_POSTGRES_DSN": database.writer}


def run(database: Database, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(database) | {"PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def count_events(database: Database, prefix: str) -> int:
    with psycopg.connect(database.reader) as session:
        row = session.execute(
            "SELECT count(*) FROM payments WHERE payment_id IN (SELECT payment_id FROM payments "
            "WHERE seq = 1 AND idempotency_key LIKE %s)",
            [f"{prefix}%"],
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_twice_is_once(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl.gz"
    lines = "".join(json.dumps(a_life(f"twice-{n}")) + "\n" for n in range(700))
    path.write_bytes(gzip.compress(lines.encode()))
    first = run(database, tmp_path, "--psp", "stripe", str(path))
    assert first.returncode == 0, first.stderr
    assert "700 payments with 7,000 events appended, 0 unchanged, 0 lines rejected" in first.stdout
    again = run(database, tmp_path, "--psp", "stripe", str(path))
    assert again.returncode == 0
    assert "0 payments with 0 events appended, 700 unchanged" in again.stdout
    assert count_events(database, "twice-") == 7_000
    other = run(database, tmp_path, "--psp", "adyen", str(path))
    assert other.returncode == 1
    assert "line 1: psp: is adyen, but stripe is stored" in other.stderr


def test_good_lines_are_appended_and_bad_ones_reported(database: Database, tmp_path: Path) -> None:
    bad = a_life("mixed-2", an_event("captured", 6))
    path = write_lines(tmp_path / "mixed.jsonl", [a_life("mixed-1"), bad, b"\0", a_life("mixed-3")])
    result = run(database, tmp_path, str(path))
    assert result.returncode == 1
    assert "2 payments with 20 events appended, 0 unchanged, 2 lines rejected" in result.stdout
    assert "line 2: events[4].amount_minor: nothing is left" in result.stderr
    assert "line 3: line: is not JSON" in result.stderr
    assert "Traceback" not in result.stderr
    assert count_events(database, "mixed-") == 20
    assert len((tmp_path / "mixed.jsonl.rejected.jsonl").read_text().splitlines()) == 2


def _damaged(key: str) -> bytes:
    """A gzip file of three payments, in the first of which one digit was flipped."""
    lines = "".join(json.dumps(a_life(f"{key}-{n}")) + "\n" for n in range(3))
    whole = gzip.compress(lines.encode(), 0)
    return whole.replace(b'"amount_minor": 1000', b'"amount_minor": 9000', 1)


def test_nothing_of_a_damaged_file_is_appended(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl.gz"
    path.write_bytes(_damaged("damaged"))
    result = run(database, tmp_path, str(path))
    assert result.returncode == 2
    assert "damaged.jsonl.gz: is damaged or not whole (CRC check failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert count_events(database, "damaged-") == 0


def test_nothing_of_a_damaged_stream_is_appended(database: Database) -> None:
    result = subprocess.run(
        command("-"), env=environment(database), input=_damaged("stream"),
        capture_output=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert b"standard input: is damaged or not whole" in result.stderr
    assert count_events(database, "stream-") == 0


def _histories_of_every_time_and_currency() -> list[dict[str, Any]]:
    """A line for each time that somebody may write, and for each currency at its end."""
    late = "2026-11-29T12:00:00Z"
    codes = [*CURRENCY_EXPONENTS, "XXX", "USN"]
    texts = [*(text for text, _ in TAKEN), *(text for text, _ in REFUSED), "2024-05-01T00:00:00Z"]
    ends = [
        (code, (end + timedelta(microseconds=shift)).isoformat())
        for code, end in CURRENCY_ENDS.items()
        for shift in (-1, 0)
    ]
    histories = [
        *(a_life("") | {"created_at": text} for text in texts),
        *(a_history(an_event("captured", at=text), created_at="1970-01-01T00:00:00Z")
          for text in texts),
        *(a_history(created_at=at, currency=code) for code, at in ends),
        *(a_history(created_at=late, currency=code) for code in codes),
    ]  # fmt: skip
    return [each | {"idempotency_key": f"alike-{n}"} for n, each in enumerate(histories)]


def test_a_dry_run_gives_every_line_the_verdict_of_the_import(
    database: Database, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "alike.jsonl", _histories_of_every_time_and_currency())
    dry = run(database, tmp_path, "--dry-run", "--rejects", "dry.jsonl", str(path))
    real = run(database, tmp_path, "--rejects", "real.jsonl", str(path))
    assert dry.returncode == real.returncode == 1, real.stderr
    assert sorted((tmp_path / "dry.jsonl").read_text().splitlines()) == sorted(
        (tmp_path / "real.jsonl").read_text().splitlines()
    )
    assert dry.stdout.split(" would be ")[0] == real.stdout.split(" appended")[0]


def test_standard_input(database: Database, tmp_path: Path) -> None:
    lines = json.dumps(a_life("stdin-1")) + "\n"
    result = subprocess.run(
        command("-"), env=environment(database), input=gzip.compress(lines.encode()),
        capture_output=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert count_events(database, "stdin-") == ROWS_OF_A_LIFE


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_import_goes_on_where_it_stopped(
    database: Database, tmp_path: Path, how: signal.Signals
) -> None:
    prefix = f"interrupted-{how.name}-"
    path = write_lines(tmp_path / "long.jsonl", (a_life(f"{prefix}{n}") for n in range(LIVES)))
    with subprocess.Popen(
        command(str(path)), env=environment(database), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        # A shell that started the tests in the background has SIGINT ignored, and hands it down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:  # fmt: skip

        def appended() -> int:
            assert process.poll() is None
            return count_events(database, prefix)

        before = wait_until(appended, "the first rows", poll_seconds=0.02)
        process.send_signal(how)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert 0 < before < LIVES * ROWS_OF_A_LIFE, "it was not interrupted in the middle"
    if how is signal.SIGINT:
        assert process.returncode == 130, errors
        assert "run the same command again" in errors
        assert "payments with" in output
        assert "Traceback" not in errors
    result = run(database, tmp_path, str(path))
    assert result.returncode == 0, result.stderr
    assert ", 0 unchanged" not in result.stdout
    assert count_events(database, prefix) == LIVES * ROWS_OF_A_LIFE


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("host=127.0.0.1 port=1 dbname=x", "PostgreSQL"),
        ("not a dsn", "PURSER_POSTGRES_DSN"),
        ("", "PURSER_POSTGRES_DSN"),
    ],
)
def test_wrong_server_is_one_line(tmp_path: Path, dsn: str, words: str) -> None:
    path = write_lines(tmp_path / "one.jsonl", [a_life("k")])
    result = subprocess.run(
        command(str(path)), env=os.environ | {"PURSER_POSTGRES_DSN": dsn}, capture_output=True,
        text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr

"""What an operator sees: the list, one record whole, and one clear line for what cannot be."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from schemas.lifecycle import EventType
from tests.events import key_of, pay_in, raw_record, record
from tests.integration.dead_letters.support import PARKED_AT, Parked, purser

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).resolve().parents[3]
UNUSED_PORT = 9  # "discard": nothing listens there
CAPTURE = pay_in(
    EventType.CAPTURED, amount_minor=1_000, commission_minor=100, order_amount_minor=1_000
)
GOOD = record(CAPTURE, partition=1, offset=7)
TEXT = raw_record(b'{"op": "c", "why": "\xe2\x80\xae\xc3\xa9", "x": "' + b"y" * 5_000, offset=8)
BINARY = raw_record(b"\x1b[31m\x00\xff" + bytes(600), offset=9)
NULL = raw_record(None, offset=10)
TOPIC = GOOD.topic


@pytest.fixture
def some(parked: Parked) -> Parked:
    """Three records that no code can fold, and one that this code can."""
    parked.flow([TEXT, BINARY, NULL])
    parked.park([GOOD], parked_at=PARKED_AT + timedelta(hours=1))
    return parked


def test_the_list_has_the_last_parked_first_and_counts_the_reasons(some: Parked) -> None:
    assert some.states()
    lines = purser("list").text.splitlines()
    assert lines[0].split() == ["position", "reason", "recorded", "parked", "size", "state"]
    assert lines[1].startswith(f"{TOPIC}/1/7 ")
    assert " unknown_event_type  2026-01-05 12:00:00  2026-02-01 10:30:00 " in lines[1]
    assert lines[1].endswith(" B  open")
    assert "is not known to this code" in lines[2]
    assert [line.split()[0] for line in lines[3:9:2]] == [f"{TOPIC}/0/{n}" for n in (8, 9, 10)]
    assert "null  open" in lines[7]
    summary = {line.split()[0]: line.split()[1:4] for line in lines[11:]}
    assert summary == {
        "malformed_record": ["2", "0", "0"],
        "null_record": ["1", "0", "0"],
        "unknown_event_type": ["1", "0", "0"],
    }


def test_the_list_is_narrowed(some: Parked) -> None:
    assert purser("redrive", f"{TOPIC}/1/7").status == 0
    listed = purser("list", "--json").json
    assert [each["state"] for each in listed["dead_letters"]] == ["open"] * 3
    redriven = purser("list", "--json", "--state", "redriven").json["dead_letters"]
    assert [each["position"] for each in redriven] == [f"{TOPIC}/1/7"]
    assert len(purser("list", "--json", "--state", "all").json["dead_letters"]) == 4
    of_reason = purser("list", "--json", "--reason", "null_record").json
    assert [each["position"] for each in of_reason["dead_letters"]] == [f"{TOPIC}/0/10"]
    assert [each["reason"] for each in of_reason["summary"]] == ["null_record"]
    few = purser("list", "--limit", "1").text
    assert "… and 2 more; --limit shows more of them" in few
    assert purser("list", "--state", "redriven", "--reason", "null_record").text.startswith(
        "no redriven dead letters\n"
    )


def test_records_of_the_last_day_are_counted(some: Parked) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    some.flow([NULL._replace(offset=11, timestamp=now)])
    [summary] = purser("list", "--json", "--reason", "null_record").json["summary"]
    assert (summary["open"], summary["last_24_hours"]) == (2, 1)


def test_nothing_parked_is_said(parked: Parked) -> None:
    assert parked.states() == {}
    assert purser("list").text == "no open dead letters\n"
    assert purser("redrive", "--all").text == "no open dead letter to redrive\n"
    assert purser("redrive", "--all").status == 0


def test_a_record_is_shown_whole_with_what_this_code_makes_of_it(some: Parked) -> None:
    assert some.states()
    text = purser("show", f"{TOPIC}/1/7").text
    assert "state     open" in text
    assert "now       this code folds it: captured, payment 11111111-" in text
    assert key_of(CAPTURE.payment_id).decode() in text
    assert (GOOD.value or b"").decode() in text
    purser("redrive", f"{TOPIC}/1/7", "--by", "Ann")
    text = purser("show", f"{TOPIC}/1/7").text
    assert "state     redriven" in text
    assert " by Ann: redriven, payment 11111111-" in text
    shown = purser("show", f"{TOPIC}/1/7", "--json").json
    assert shown["value"]["data"].encode() == GOOD.value
    assert shown["now"]["folds"] is True
    assert shown["redrives"][0]["redriven_by"] == "Ann"
    assert shown["state"] == "redriven"


def test_bytes_are_shown_as_text_or_as_hex_and_never_as_control_sequences(some: Parked) -> None:
    assert some.states()
    text = purser("show", f"{TOPIC}/0/8").text
    assert '"why": "\\u202eé"' in text
    assert "value, 5,034 bytes:" in text
    assert "… 938 bytes more; --raw writes all of them" in text
    binary = purser("show", f"{TOPIC}/0/9").text
    assert "000000  1b 5b 33 31 6d 00 ff 00" in binary
    assert "\x1b" not in binary
    assert "… 95 bytes more; --raw writes all of them" in binary
    assert purser("show", f"{TOPIC}/0/9", "--json").json["value"]["encoding"] == "base64"
    assert "value: none (a tombstone)" in purser("show", f"{TOPIC}/0/10").text
    assert purser("show", f"{TOPIC}/0/10", "--json").json["value"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["show", "nonsense"], 64, "position: 'nonsense' is not TOPIC/PARTITION/OFFSET"),
        (["show", f"{TOPIC}/0/-1"], 64, "is not TOPIC/PARTITION/OFFSET"),
        (["show", f"{TOPIC}/5/5"], 2, f"there is no dead letter at {TOPIC}/5/5"),
        (["show", f"{TOPIC}/1/7", "--raw", "--json"], 64, "give one of them"),
        (["list", "--reason", "boredom"], 2, "--reason: 'boredom' is unknown; give one of broken"),
        (["list", "--limit", "0"], 64, "Invalid value for '--limit'"),
        (["list", "--limit", "10001"], 64, "Invalid value for '--limit'"),
        (["redrive"], 64, "give positions, or --reason, or --all"),
        (["redrive", "--all", f"{TOPIC}/1/7"], 64, "give positions, or --reason, or --all"),
        (["redrive", f"{TOPIC}/1/7", f"{TOPIC}/5/5"], 2, f"is no dead letter at {TOPIC}/5/5"),
        (["redrive", "--reason", "boredom"], 2, "'boredom' is unknown"),
        (["redrive", "--all", "--by", " "], 64, "--by: give a name of 1 to 200 visible characters"),
        (["redrive", "--all", "--by", "\x1b[31m"], 64, "--by: give a name"),
    ],
)
def test_bad_input_is_one_clear_line(
    some: Parked, arguments: list[str], status: int, says: str
) -> None:
    answer = purser(*arguments)
    assert answer.status == status
    assert says in answer.errors
    assert answer.errors.startswith("purser: ")
    assert answer.errors.count("\n") == 1
    assert not answer.output
    assert not some.notes()


@pytest.mark.parametrize("command", [["list"], ["show", f"{TOPIC}/1/7"], ["redrive", "--all"]])
def test_servers_and_schemas_that_are_not_as_they_should_be_are_named(
    some: Parked, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(some.url)

    def refused(says: str) -> None:
        answer = purser(*command)
        assert answer.status == 2
        assert says in answer.errors
        assert answer.errors.count("\n") == 1

    some.client.command("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_x', 'y')")
    refused("newer than this code")
    some.client.command("TRUNCATE TABLE schema_migrations")
    refused("ClickHouse's schema is behind: 0001_tables is missing; run `purser migrate`")
    nobody = parts._replace(netloc=f"purser:secret@127.0.0.1:{UNUSED_PORT}").geturl()
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", nobody)
    refused(f"purser: ClickHouse at 127.0.0.1:{UNUSED_PORT} does not answer")
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", "nonsense")
    refused("purser: PURSER_CLICKHOUSE_URL")


def _on_a_terminal(typed: bytes, *arguments: str) -> tuple[int, str, str]:
    """The real command with a terminal as its standard input: status, output, errors."""
    operator, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", "dead-letters", *arguments],
            cwd=CHECKOUT,
            env=dict(os.environ),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(operator, typed)
        output, errors = process.communicate(timeout=120)
    finally:
        os.close(operator)
        os.close(terminal)
    return process.returncode, output, errors


def test_on_a_terminal_it_asks_first(some: Parked) -> None:
    status, output, errors = _on_a_terminal(b"n\n", "redrive", f"{TOPIC}/1/7")
    assert status == 1, errors
    assert "1 of them fold now: 1 captured" in output
    assert "Redrive 1 record?" in errors
    assert "nothing was changed" in errors
    assert not some.notes()
    status, output, errors = _on_a_terminal(b"y\n", "redrive", f"{TOPIC}/1/7")
    assert status == 0, errors
    assert "1 redriven" in output
    assert some.states()[f"{TOPIC}/1/7"] == "redriven"


def test_yes_does_not_ask_and_the_audit_names_user_and_host(some: Parked) -> None:
    status, output, errors = _on_a_terminal(b"", "redrive", f"{TOPIC}/1/7", "--yes", "--json")
    assert status == 0, errors
    assert "Redrive" not in errors
    assert json.loads(output)["outcome"]["redriven"] == 1
    [note] = some.notes()
    assert note["redriven_by"].count("@") == 1

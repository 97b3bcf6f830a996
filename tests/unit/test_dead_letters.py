"""Positions, chunks, and what is new of rows: the parts of a redrive that need no server."""

import pytest

from cli.raw_bytes import as_json, printable, rendered
from operations.dead_letters import Chosen, Letter, Position, State, judge
from operations.dead_letters import letter as reading
from operations.dead_letters.letter import chunks, known_reasons
from operations.dead_letters.plan import _new_rows
from schemas.errors import InputError
from schemas.lifecycle import EventType
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PIPELINE_PROGRESS,
    columns_of,
    rows_of,
)
from streams.fold import fold_batch
from tests.events import COMMITTED_AT_MS, NOON, pay_in, raw_record, record

TOPIC = "purser.public.payments"


@pytest.mark.parametrize("text", [f"{TOPIC}/0/0", "a/2147483647/9223372036854775807"])
def test_a_position_reads_as_it_is_written(text: str) -> None:
    assert str(Position.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/1", "a/1/2/3", "/1/2", "a/-1/2", "a/1/-2", "a/1/x", "a b/1/2", "a/1/2 ", "a/٣/2",
     f"a/{2**31}/1", f"a/1/{2**63}", f"{'a' * 250}/1/1"],
)  # fmt: skip
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not TOPIC/PARTITION/OFFSET"):
        Position.parse(text)


def test_every_reason_of_the_tree_is_known() -> None:
    assert {"malformed_record", "null_record", "unknown_event_type", "newer_schema_version"} <= (
        known_reasons()
    )


def letter_of(value: bytes | None, *, offset: int = 5) -> Letter:
    source = raw_record(value, partition=3, offset=offset)
    return Letter(
        position=Position(source.topic, 3, offset),
        reason="malformed_record",
        error="",
        key=source.key or b"",
        value=value,
        recorded_at=NOON.replace(microsecond=130_000),
        consumer="purser-views",
        parked_at=NOON,
        state=State.OPEN,
    )


def test_a_letter_is_the_record_that_it_was() -> None:
    source = raw_record(b"x", partition=3, offset=5)
    assert letter_of(b"x").record() == source
    assert letter_of(None).record().value is None
    assert source.timestamp == COMMITTED_AT_MS + 7


def test_a_record_that_folds_has_the_worker_s_rows_and_no_progress() -> None:
    event = pay_in(EventType.CAPTURED, amount_minor=1_000, order_amount_minor=1_000)
    source = record(event, partition=3, offset=5)
    judged = judge(letter_of(source.value))
    worker = fold_batch([source], consumer="purser-views", parked_at=NOON)
    assert judged.folds
    assert not judged.columns.keys() & {DEAD_LETTERS, PIPELINE_PROGRESS}
    for table, columns in judged.columns.items():
        assert rows_of(table, columns) == rows_of(table, worker.columns[table])
    assert judged.minutes == worker.minutes
    assert (judged.payment_id, judged.seq, judged.event_type) == (event.payment_id, 1, "captured")
    assert judged.row_count == 4


def test_a_record_that_does_not_fold_says_why() -> None:
    judged = judge(letter_of(b"{"))
    assert not judged.folds
    assert (judged.reason, judged.row_count) == ("malformed_record", 0)
    assert judged.error


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], []), ([1] * 5, [2, 2, 1]), ([9, 9], [1, 1]), ([99, 1, 1], [1, 2]), ([4, 4, 4], [2, 1])],
)
def test_chunks_are_bounded_in_records_and_bytes(
    sizes: list[int], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_RECORDS_MAX", 2)
    monkeypatch.setattr(reading, "CHUNK_BYTES_MAX", 10)
    chosen = [
        Chosen(Position(TOPIC, 0, offset), size, State.OPEN) for offset, size in enumerate(sizes)
    ]
    made = list(chunks(chosen))
    assert [len(chunk) for chunk in made] == expected
    assert [position.offset for chunk in made for position in chunk] == list(range(len(sizes)))


def test_a_row_is_new_once_and_only_when_its_version_is_higher() -> None:
    def state(seq: int) -> tuple[str | int, ...]:
        values: dict[str, str | int] = {
            "buyer_id": "b",
            "order_id": "o",
            "payment_id": "p",
            "seq": seq,
        }
        return tuple(values.get(name, 0) for name in BUYER_ORDERS.columns)

    columns = columns_of([state(2), state(3), state(4)])
    key = ("b", "o", "p")
    seen: dict[tuple[str, ...], int] = {}
    assert _new_rows(BUYER_ORDERS, columns, {key: 2}, seen) == [False, True, False]
    assert seen == {key: 4}
    assert _new_rows(BUYER_ORDERS, columns, {}, {}) == [True, False, False]
    assert _new_rows(BUYER_ORDERS, columns, {key: 4}, {}) == [False, False, False]


def test_an_entry_is_new_unless_it_is_there() -> None:
    event = pay_in(EventType.CAPTURED, amount_minor=1_000, order_amount_minor=1_000)
    columns = judge(letter_of(record(event).value)).columns[LEDGER_ENTRIES]
    seen: dict[tuple[str, ...], int] = {}
    assert _new_rows(LEDGER_ENTRIES, columns, {}, seen) == [True, True]
    there = dict.fromkeys(seen, 0)
    assert _new_rows(LEDGER_ENTRIES, columns, there, {}) == [False, False]


def test_bytes_are_text_only_when_they_are() -> None:
    assert rendered("grüße\n".encode()) == ("grüße\n", 0)
    assert rendered(b"\x00\x01")[0].startswith("000000  00 01")
    assert rendered(b"\xff")[0].startswith("000000  ff")
    long = "ü" * 3_000
    text, left_out = rendered(long.encode())
    assert len(text.encode()) + left_out == 6_000
    assert text == "ü" * 2_048
    assert rendered(b"x" + long.encode())[1] == 6_001 - 4_095
    assert printable("a\x1b[31m\u202eb\tc") == "a\\x1b[31m\\u202eb\tc"
    assert as_json(None) is None
    assert as_json(b"\xff") == {"bytes": 1, "encoding": "base64", "data": "/w=="}

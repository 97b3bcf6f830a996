"""The guard of `details` measures the text that is sent to Kafka, however the row comes in."""

import psycopg
import pytest

from schemas.details import MAX_DETAILS_BYTES
from tests.integration.postgres.database import Refused, copy, refusal
from tests.integration.postgres.rows import Book, Row

pytestmark = pytest.mark.integration

REFUSED = Refused(why="payments_details", field="details")
FRAME = '{"a": ""}'


def text_of(size: int, unit: str = "x") -> str:
    """An object whose text has `size` bytes, most of them repetitions of `unit`."""
    room = size - len(FRAME)
    repeated = unit * (room // len(unit.encode()))
    return FRAME[:-2] + repeated + "x" * (room - len(repeated.encode())) + FRAME[-2:]


def numbers(number: str, count: int) -> str:
    return '{"x": [' + ", ".join([number] * count) + "]}"


def nested(depth: int) -> str:
    return '{"a": ' + "[" * depth + "]" * depth + "}"


# Each is written to the table as the text that it is read as.
LARGEST = {
    "plain": text_of(MAX_DETAILS_BYTES),
    "quotes": text_of(MAX_DETAILS_BYTES, r"\""),
    "backslashes": text_of(MAX_DETAILS_BYTES, r"\\"),
    "control characters": text_of(MAX_DETAILS_BYTES, r"\u001f"),
    "two bytes a character": text_of(MAX_DETAILS_BYTES, "é"),
    "four bytes a character": text_of(MAX_DETAILS_BYTES, "😀"),
    "deep": nested(5_000),
    "a long number": numbers("9" * 65_000, 1),
}
TOO_LARGE = {
    "plain, a byte more": text_of(MAX_DETAILS_BYTES + 1),
    "quotes, a byte more": text_of(MAX_DETAILS_BYTES + 1, r"\""),
    "control characters, a byte more": text_of(MAX_DETAILS_BYTES + 1, r"\u001f"),
    "two bytes a character, a byte more": text_of(MAX_DETAILS_BYTES + 1, "é"),
    "many abbreviated numbers": numbers("1e131071", 200),
    "one abbreviated number": numbers("1e70000", 1),
    "an abbreviated fraction": numbers("1e-16383", 5),
    "numbers of over a gigabyte": numbers("1e131071", 10_000),
    "many small numbers": numbers("1", 30_000),
}


def row(details: str) -> Row:
    return Book().create() | {"details": details}


@pytest.mark.parametrize("details", LARGEST.values(), ids=LARGEST)
def test_the_largest_details_are_taken_as_they_are(
    writer: psycopg.Connection, details: str
) -> None:
    assert len(details.encode()) <= MAX_DETAILS_BYTES
    inserted, copied = row(details), row(details)
    assert refusal(writer, inserted) is None
    copy(writer, [copied])
    stored = writer.execute(
        "SELECT DISTINCT details::text FROM public.payments WHERE payment_id = ANY(%s)",
        [[inserted["payment_id"], copied["payment_id"]]],
    ).fetchall()
    assert stored == [(details,)]


@pytest.mark.parametrize("details", TOO_LARGE.values(), ids=TOO_LARGE)
def test_larger_details_are_refused(writer: psycopg.Connection, details: str) -> None:
    assert refusal(writer, row(details)) == REFUSED
    with pytest.raises(psycopg.errors.CheckViolation) as caught, writer.transaction():
        copy(writer, [row(details)])
    assert Refused.of(caught.value) == REFUSED
    assert caught.value.diag.message_primary == (
        "details: must be a JSON object of at most 65,536 bytes as text and 131,072 bytes as jsonb"
    )


def test_details_that_postgresql_has_compressed_are_measured_as_text(
    writer: psycopg.Connection,
) -> None:
    """They come out of another table in few bytes, and the guard sees those."""
    writer.execute("CREATE TEMPORARY TABLE compressed (details jsonb) ON COMMIT DROP")
    for details in (numbers("1e131071", 10_000), text_of(MAX_DETAILS_BYTES + 1)):
        writer.execute("TRUNCATE compressed")
        writer.execute("INSERT INTO compressed VALUES (%s)", [details])
        size = writer.execute("SELECT pg_column_size(details) FROM compressed").fetchone()
        assert size is not None
        assert size[0] < MAX_DETAILS_BYTES
        with pytest.raises(psycopg.errors.CheckViolation) as caught, writer.transaction():
            whole = row("{}")
            names = ", ".join(whole)
            values = ", ".join("details" if name == "details" else f"%({name})s" for name in whole)
            writer.execute(
                f"INSERT INTO public.payments ({names}) SELECT {values} FROM compressed".encode(),
                whole,
            )
        assert Refused.of(caught.value) == REFUSED

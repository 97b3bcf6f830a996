"""Reading lines of whatever file somebody gives us."""

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from writer.importing.lines import MAX_LINE_BYTES, Line, read_lines


def lines_of(content: bytes) -> list[Line]:
    return list(read_lines(io.BufferedReader(io.BytesIO(content)), "some.jsonl"))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{}\n{ }\n", [(1, b"{}"), (2, b"{ }")]),
        (b"{}\r\n{}", [(1, b"{}"), (2, b"{}")]),
        (b"{}\n\n \n{}\n", [(1, b"{}"), (4, b"{}")]),
        (b"\xef\xbb\xbf{}\n", [(1, b"{}")]),
        (b"{\0}\nno\xff\n", [(1, b"{\0}"), (2, b"no\xff")]),
    ],
)
def test_lines(compress: type, content: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert [(line.number, line.raw) for line in lines_of(compress(content))] == expected


def test_two_gzip_members_are_one_file() -> None:
    assert len(lines_of(gzip.compress(b"{}\n") + gzip.compress(b"{}\n"))) == 2


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_long_line_is_reported_and_the_next_one_read(compress: type) -> None:
    long = b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}'
    first, second = lines_of(compress(long + b"\n{}\n"))
    assert first.number == 1
    assert "longer than" in str(first.problem)
    assert second == Line(2, b"{}")


def test_line_of_exactly_the_limit_is_read() -> None:
    (line,) = lines_of(b"{" + b" " * (MAX_LINE_BYTES - 2) + b"}\n")
    assert line.problem is None


def test_long_line_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b"{")
        for _ in range(20):
            file.write(b" " * MAX_LINE_BYTES)
    tracemalloc.start()
    try:
        with path.open("rb") as source:
            assert [bool(line.problem) for line in read_lines(source, "long")] == [True]
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


def test_truncated_gzip_gives_its_whole_lines_and_says_so() -> None:
    whole = gzip.compress(b"".join(b'{"n": %d}\n' % number for number in range(50_000)))
    *good, last = lines_of(whole[: len(whole) // 2])
    assert len(good) > 1_000
    assert not any(line.problem for line in good)
    assert last.number == len(good) + 1
    assert "is it whole" in str(last.problem)


def test_damaged_gzip_says_so() -> None:
    damaged = bytearray(gzip.compress(bytes(range(32, 127)) * 1000 + b"\n{}\n"))
    damaged[len(damaged) // 2] ^= 0xFF
    assert "is it whole" in str(lines_of(bytes(damaged))[-1].problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n  \n\n", "blank lines only"),
        (gzip.compress(b"", mtime=0), "blank lines only"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "is binary"),
        (b"PK\x03\x04\x14\0\0\0", "is binary"),
        ("{}\n".encode("utf-16"), "is binary or not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "is binary or not UTF-8"),
    ],
)
def test_hopeless_file(content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        lines_of(content)

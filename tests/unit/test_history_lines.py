"""Reading lines of whatever file somebody gives us."""

import bz2
import errno
import gzip
import io
import json
import lzma
import shutil
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from schemas.errors import ConfigurationError
from writer.importing.lines import MAX_LINE_BYTES, Line, read_lines


def lines_of(content: bytes) -> list[Line]:
    return list(read_lines(io.BufferedReader(io.BytesIO(content)), "some.jsonl"))


def an_archive(*names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, "{}\n")
    return archive.getvalue()


def a_tar() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.addfile(tarfile.TarInfo("jan.jsonl"))
    return archive.getvalue()


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


MANY = gzip.compress(b"".join(b'{"n": %d}\n' % number for number in range(50_000)), mtime=0)
STORED = gzip.compress(b'{"n": 1000}\n{"n": 1000}\n', 0, mtime=0)

DAMAGED: dict[str, tuple[bytes, str]] = {
    "a flipped digit": (STORED.replace(b"1000", b"9000", 1), "CRC check failed"),
    "another checksum": (STORED[:-8] + b"\0\0\0\0" + STORED[-4:], "CRC check failed"),
    "another length": (STORED[:-4] + b"\1\0\0\0", "Incorrect length"),
    "cut in the middle": (MANY[: len(MANY) // 2], "ended before"),
    "cut in the checksum": (MANY[:-6], "ended before"),
    "cut in the header": (MANY[:5], "ended before"),
    "a second member cut": (MANY + MANY[:-6], "ended before"),
    "rubbish after it": (MANY + b"rubbish", "Not a gzipped file"),
    "a flipped byte": (MANY[:5_000] + bytes([MANY[5_000] ^ 0xFF]) + MANY[5_001:], ""),
    "another method": (MANY[:2] + b"\7" + MANY[3:], "Unknown compression method"),
}


@pytest.mark.parametrize(("content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_gzip_gives_no_line_at_all(content: bytes, words: str) -> None:
    lines = read_lines(io.BufferedReader(io.BytesIO(content)), "some.jsonl.gz")
    with pytest.raises(
        ConfigurationError, match=r"^some\.jsonl\.gz: is damaged or not whole"
    ) as bad:
        next(lines)
    assert words in str(bad.value)


class Pipe(io.RawIOBase):
    """Gives its content in pieces of a few bytes, once."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._left[: min(7, len(buffer))]
        self._left = self._left[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_pipe_is_read_like_a_file(compress: type) -> None:
    content = b"".join(b'{"n": %d}\n' % number for number in range(3_000))
    lines = list(read_lines(io.BufferedReader(Pipe(compress(content))), "standard input"))
    assert [line.number for line in lines] == [*range(1, 3_001)]
    assert lines[-1].raw == b'{"n": 2999}'


@pytest.mark.parametrize(("content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_gzip_from_a_pipe_gives_no_line_at_all(content: bytes, words: str) -> None:
    lines = read_lines(io.BufferedReader(Pipe(content)), "standard input")
    with pytest.raises(ConfigurationError, match="is damaged or not whole") as bad:
        next(lines)
    assert words in str(bad.value)


def test_pipe_that_cannot_be_kept_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    lines = read_lines(io.BufferedReader(Pipe(MANY)), "standard input")
    with pytest.raises(ConfigurationError, match=r"temporary file .*No space left.*TMPDIR"):
        next(lines)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_that_changes_while_it_is_read_is_reported(tmp_path: Path, compress: type) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(compress(b"{}\n{}\n"))
    with path.open("rb") as file:
        lines = read_lines(file, "some.jsonl")
        assert next(lines).raw == b"{}"
        with path.open("ab") as writer:
            writer.write(b"{}\n")
        with pytest.raises(ConfigurationError, match=r"^some\.jsonl: (changed|cannot be read fur)"):
            list(lines)


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"{}\n{}\n")
    with path.open("rb") as file:
        lines = read_lines(file, "some.jsonl")
        next(lines)
        (tmp_path / "new").write_bytes(b"[]")
        (tmp_path / "new").rename(path)
        assert len(list(lines)) == 1


class Fails(Pipe):
    """A disk that fails after its first bytes."""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)


def test_a_file_that_cannot_be_read_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(read_lines(io.BufferedReader(Fails(b"")), "some.jsonl"))
    with pytest.raises(ConfigurationError, match="cannot be read further than line 1000 "):
        list(read_lines(io.BufferedReader(Fails(b'{"a": 1234}\n' * 1_000)), "some.jsonl"))


EMPTY: list[tuple[bytes, str]] = [
    (b"", "is empty"),
    (b"\n  \n\n", "blank lines only"),
    (gzip.compress(b"", mtime=0), "blank lines only"),
]


@pytest.mark.parametrize(("content", "words"), EMPTY)
def test_file_without_a_line(content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        lines_of(content)


A_PAYMENT = {"idempotency_key": "k", "orders": [{"order_id": "A"}], "events": []}

OTHER_KINDS: dict[str, tuple[bytes, str]] = {
    "program": (b"\x7fELF\x02\x01\x01\0\0\0", "is binary"),
    "picture": (b"\x89PNG\r\n\x1a\n", "is binary"),
    "zstd": (zstandard.compress(b"{}\n"), "with zstd"),
    "lz4": (lz4.frame.compress(b"{}\n"), "with lz4"),
    "xz": (lzma.compress(b"{}\n"), "with xz"),
    "bzip2": (bz2.compress(b"{}\n"), "with bzip2"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive"),
    "zip": (an_archive("jan.jsonl"), "is a zip archive"),
    "Excel": (an_archive("[Content_Types].xml", "xl/workbook.xml"), "is an Office document"),
    "OpenDocument": (b"PK\x03\x04" + b"\0" * 26
                     + b"mimetypeapplication/vnd.oasis.opendocument", "is an Office document"),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office document"),
    "tar": (a_tar(), "is a tar archive"),
    "Parquet": (b"PAR1\x15\4", "is a Parquet file"),
    "PDF": (b"%PDF-1.7\n", "is a PDF"),
    "UTF-16": ("{}\n".encode("utf-16"), "is UTF-16"),
    "UTF-16 LE without a mark": ('{"a"'.encode("utf-16-le"), "is UTF-16; .*UTF-16LE"),
    "UTF-16 BE without a mark": ('{"a"'.encode("utf-16-be"), "is UTF-16; .*UTF-16BE"),
    "UTF-32": ("{}\n".encode("utf-32"), "is UTF-32"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>Please log in</body></html>", "is an HTML page"),
    "HTML without a doctype": (b"\n <HTML lang=en>\n{}\n", "is an HTML page"),
    "XML": (b'<?xml version="1.0"?>\n<payments/>', "is XML"),
    "JSON array": (b"[{}, {}]", "is a JSON array"),
    "JSON array in lines": (b"[\n{},\n{}\n]\n", "is a JSON array"),
    "JSON array with a mark": (b"\xef\xbb\xbf[{}]", "is a JSON array"),
    "pretty JSON": (json.dumps(A_PAYMENT, indent=2).encode(), "on several lines"),
    "pretty JSON of Windows": (json.dumps(A_PAYMENT, indent="\t").replace("\n", "\r\n").encode(),
                               "on several lines"),
    "pretty JSON arrays": (b'{"orders": [\n  {"order_id": "A"}\n]}\n', "on several lines"),
    "pretty JSON members": (b'{"a": 1,\n "b": 2}\n', "on several lines"),
    "CSV": (b"idempotency_key,buyer_id\nk1,b1\n", "is a table"),
    "CSV of Excel": (b"\xef\xbb\xbfid;buyer\r\n1;b\r\n", "is a table"),
    "TSV": (b"id\tbuyer\n1\tb\n", "is a table"),
    "prose": (b"Dear all\nhere are the payments\n", "is text, but not JSON Lines"),
    "Latin-1": ("Käufer,Betrag\n".encode("latin-1") * 3, "is binary or not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(("content", "words"), OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_other_kind_of_file_is_one_message(content: bytes, words: str, compress: type) -> None:
    with pytest.raises(ConfigurationError, match=rf"^some\.jsonl: .*{words}") as refused:
        lines_of(compress(content))
    assert "\n" not in str(refused.value)


def test_gzip_in_gzip_is_one_message() -> None:
    with pytest.raises(ConfigurationError, match="is compressed with gzip twice"):
        lines_of(gzip.compress(gzip.compress(b"{}\n")))


@pytest.mark.parametrize(
    "content",
    [
        b"{}\n",
        b"\xef\xbb\xbf{}\n",
        b"  {}\n",
        b'{"a": "' + b"x" * 20_000 + b'"}\n',
        b"{\n{\n",
        b"{\n",
        b'{"a": 1,\n{"b": 2}\n',
        b'{"a": "[",}\n "x"\n',
        b'{"a": "\xff"}\n',
        b"# exported yesterday\n{}\n",
        b"nonsense\n{}\n",
        b"{\0}\n",
    ],
)
def test_what_could_be_json_lines_is_read_line_by_line(content: bytes) -> None:
    assert lines_of(content)

"""The report of bad lines: where it is, and that it overwrites nothing but itself."""

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import rejects
from cli.commands import app
from schemas.errors import ConfigurationError
from tests.histories import a_life, write_lines

BAD = b'{"not": "a payment"}'
REPORT = "mine.jsonl.rejected.jsonl"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    """Dry-run an import; returns its exit status."""
    result = CliRunner().invoke(app, ["import", "--dry-run", *arguments])
    if isinstance(result.exception, ConfigurationError):
        return result.exception.exit_status
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code


def refused(*arguments: str) -> str:
    """Dry-run an import that cannot be done; returns the message."""
    result = CliRunner().invoke(app, ["import", "--dry-run", *arguments])
    assert isinstance(result.exception, ConfigurationError), result.output
    return str(result.exception)


def lines_in(report: str | Path) -> list[int]:
    return [json.loads(line)["line"] for line in Path(report).read_text().splitlines()]


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


def _same(source: Path) -> str:
    return source.name


def _dotted(source: Path) -> str:
    return f"./sub/../{source.name}"


def _symbolic_link(source: Path) -> str:
    Path("link.jsonl").symlink_to(source.name)
    return "link.jsonl"


def _hard_link(source: Path) -> str:
    Path("link.jsonl").hardlink_to(source)
    return "link.jsonl"


NAMES: list[Callable[[Path], str]] = [_same, _dotted, _symbolic_link, _hard_link]


@pytest.mark.parametrize("named", NAMES)
def test_the_file_to_import_is_never_overwritten(named: Callable[[Path], str]) -> None:
    Path("sub").mkdir()
    source = write_lines(Path("mine.jsonl"), [BAD])
    name = named(source)
    assert "is the file to import" in refused("--rejects", name, "mine.jsonl")
    assert "is the file to import" in refused("--rejects", "mine.jsonl", name)
    assert source.read_bytes() == BAD + b"\n"


def test_the_file_to_import_given_as_a_descriptor_is_never_overwritten() -> None:
    source = write_lines(Path("mine.jsonl"), [BAD])
    with source.open("rb") as file:
        descriptor = f"/dev/fd/{file.fileno()}"
        assert "is the file to import" in refused("--rejects", "mine.jsonl", descriptor)
        assert "is the file to import" in refused("--rejects", descriptor, "mine.jsonl")
    assert source.read_bytes() == BAD + b"\n"


OTHERS = {
    "notes": b"call Anna\n",
    "binary": b"\xff\0",
    "history": json.dumps(a_life("k")).encode() + b"\n",
    "a report with a note": b'{"line": 1, "field": "line", "reason": "x", "raw": ""}\nDONE\n',
    "a report as others write it": b'{"line":1,"field":"line","reason":"x","raw":""}\n',
    "a report with a field more": b'{"line": 1, "field": "f", "reason": "x", "raw": "", "by": 1}\n',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("line", [BAD, a_life("k")], ids=["bad", "good"])
def test_a_file_that_is_no_report_is_never_overwritten(
    content: bytes, line: bytes | dict[str, Any]
) -> None:
    write_lines(Path("mine.jsonl"), [line])
    for path, arguments in (("x.jsonl", ["--rejects", "x.jsonl"]), (REPORT, [])):
        Path(path).write_bytes(content)
        assert f"{path} exists and is not a report" in refused(*arguments, "mine.jsonl")
        assert Path(path).read_bytes() == content


def test_a_file_that_comes_while_it_is_written_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def somebody_writes(_: int) -> None:
        Path(REPORT).write_text("call Anna\n")

    write_lines(Path("mine.jsonl"), [BAD])
    monkeypatch.setattr(os, "fsync", somebody_writes)
    assert "is not a report" in refused("mine.jsonl")
    assert files() == {"mine.jsonl", REPORT}
    assert Path(REPORT).read_text() == "call Anna\n"


def test_the_next_run_replaces_the_report_or_takes_it_away() -> None:
    write_lines(Path("mine.jsonl"), [a_life("k"), BAD, BAD])
    assert run("mine.jsonl") == 1
    assert lines_in(REPORT) == [2, 3]
    write_lines(Path("mine.jsonl"), [BAD, a_life("k")])
    assert run("mine.jsonl") == 1
    assert lines_in(REPORT) == [1]
    write_lines(Path("mine.jsonl"), [a_life("k")])
    assert run("mine.jsonl") == 0
    assert files() == {"mine.jsonl"}


def test_the_last_report_goes_before_the_first_line_is_read() -> None:
    write_lines(Path("mine.jsonl"), [BAD])
    assert run("mine.jsonl") == 1
    Path("mine.jsonl").write_bytes(b"a,b\n1,2\n")
    assert run("mine.jsonl") == 2
    assert files() == {"mine.jsonl"}


def test_files_of_one_name_in_two_folders_have_two_reports() -> None:
    for folder, bad_lines in (("jan", 1), ("feb", 2)):
        Path(folder).mkdir()
        write_lines(Path(folder, "orders.jsonl"), [BAD] * bad_lines)
        assert run(f"{folder}/orders.jsonl") == 1
    assert lines_in("jan/orders.jsonl.rejected.jsonl") == [1]
    assert lines_in("feb/orders.jsonl.rejected.jsonl") == [1, 2]


def test_the_report_of_a_stream_is_in_this_folder() -> None:
    assert str(rejects.report_of("-")) == "stdin.rejected.jsonl"
    assert str(rejects.report_of("/dev/fd/63")) == "63.rejected.jsonl"


def test_a_new_empty_file_is_taken() -> None:
    write_lines(Path("mine.jsonl"), [BAD])
    Path("empty").touch()
    assert run("--rejects", "empty", "mine.jsonl") == 1
    assert lines_in("empty") == [1]


def test_a_link_to_a_report_stays_a_link() -> None:
    write_lines(Path("mine.jsonl"), [BAD])
    Path("sub").mkdir()
    Path("link").symlink_to("sub/report.jsonl")
    for _ in range(2):
        assert run("--rejects", "link", "mine.jsonl") == 1
        assert Path("link").is_symlink()
        assert lines_in("sub/report.jsonl") == [1]


def test_a_device_takes_the_report_and_stays_one() -> None:
    write_lines(Path("mine.jsonl"), [BAD])
    assert run("--rejects", "/dev/null", "mine.jsonl") == 1
    assert Path("/dev/null").is_char_device()


def test_a_pipe_takes_the_report() -> None:
    write_lines(Path("mine.jsonl"), [BAD, BAD])
    os.mkfifo("pipe")
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(lines_in("pipe")))
    reader.start()
    assert run("--rejects", "pipe", "mine.jsonl") == 1
    reader.join()
    assert found == [1, 2]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing/report.jsonl", "cannot write in "),
        (".", "is a folder"),
        ("mine.jsonl/report.jsonl", "Not a directory"),
        ("x" * 300, "name too long"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_a_report_that_cannot_be_written_is_one_message(path: str, words: str) -> None:
    source = write_lines(Path("mine.jsonl"), [BAD])
    message = refused("--rejects", path, "mine.jsonl")
    assert words in message
    assert "name a" in message
    assert ("free space" in message) == (path == "/dev/full")
    assert "\n" not in message
    assert source.read_bytes() == BAD + b"\n"
    assert files() == {"mine.jsonl"}


def test_a_disk_that_is_full_at_the_end_leaves_nothing_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_lines(Path("mine.jsonl"), [BAD])
    assert run("mine.jsonl") == 1
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused("mine.jsonl")
    assert files() == {"mine.jsonl"}


def test_the_report_has_the_whole_line() -> None:
    long = b'{"a": "' + b"x" * 100_000 + b'\xff"}'
    write_lines(Path("mine.jsonl"), [long])
    assert run("mine.jsonl") == 1
    (record,) = map(json.loads, Path(REPORT).read_text().splitlines())
    assert record["raw"] == long.decode(errors="backslashreplace")

"""The report of an import's bad lines. It never overwrites what is not such a report.

It is written beside its final place and put there at the end, whole, also after Ctrl-C. A report of
an earlier run goes away at the start, so that no run leaves another one's.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO
from uuid import uuid4

from operations.console import say
from schemas.errors import ConfigurationError
from writer.importing.bulk import BadLine

BAD_LINES_SHOWN = 20

_FIELDS = ["line", "field", "reason", "raw"]
_DEVICES = ("/dev/", "/proc/")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def report_of(file: str) -> Path:
    """Return where a file's report is by default: beside it; in this folder if it is a stream."""
    if file == "-":
        return Path("stdin.rejected.jsonl")
    path = Path(file)
    folder = Path() if str(path.absolute()).startswith(_DEVICES) else path.parent
    return folder / f"{path.name}.rejected.jsonl"


class Rejects:
    """Collects bad lines: the first ones on standard error, all of them in a file.

    Call `begin` before the first line is read, and `close` after the last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: TextIO | None = None
        self._unfinished: Path | None = None

    def begin(self, source: BinaryIO) -> None:
        """Check that the report can be written, and remove that of an earlier run.

        Raises:
            ConfigurationError: it would overwrite the file to import, a file that is not such a
                report, or it cannot be written there.
        """
        status = self._status()
        if status is not None and _is_open(status, source.fileno()):
            raise ConfigurationError(
                f"--rejects: {self.path} is the file to import; name another file"
            )
        is_ours_to_make = status is None or stat.S_ISREG(status.st_mode)
        if is_ours_to_make and not os.access(self._place().parent, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"--rejects: cannot write in {self._place().parent}; name a file in a folder where "
                "you can"
            )
        if status is not None:
            self._refuse_others_file(status)
            if status.st_size and stat.S_ISREG(status.st_mode):
                try:
                    self._place().unlink()
                except OSError as error:
                    raise self._cannot_write(error) from error

    def add(self, bad: BadLine) -> None:
        """Report one line; raises ConfigurationError if the file cannot be written."""
        self.count += 1
        if self.count <= BAD_LINES_SHOWN:
            say(f"line {bad.line.number}: {bad.error}")
        elif self.count == BAD_LINES_SHOWN + 1:
            say(f"more bad lines follow; all will be in {self.path}")
        raw = bad.line.raw.decode("utf-8", errors="backslashreplace")
        values = (bad.line.number, bad.error.field, bad.error.problem, raw)
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(json.dumps(dict(zip(_FIELDS, values, strict=True))) + "\n")
        except OSError as error:
            self._discard()
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Put the report in its place, if there is one.

        Raises:
            ConfigurationError: it cannot be written, or somebody put another file there.
        """
        if self._file is None:
            return
        try:
            self._file.flush()
            if self._unfinished is not None:
                os.fsync(self._file.fileno())
                if (status := self._status()) is not None:
                    self._refuse_others_file(status)
                self._unfinished.replace(self._place())
                self._unfinished = None
            say(f"rejected lines and reasons: {self.path}")
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            self._discard()

    def _open(self) -> TextIO:
        """Open a new file beside the final place; a device or a pipe is written as it is."""
        status = self._status()
        if status is not None and not stat.S_ISREG(status.st_mode):
            return self.path.open("w", encoding="utf-8")
        self._unfinished = self._place().with_name(f".rejected-{uuid4().hex}.jsonl")
        return self._unfinished.open("x", encoding="utf-8")

    def _place(self) -> Path:
        """Return where the report is in the end, behind all symbolic links."""
        return Path(os.path.realpath(self.path))

    def _discard(self) -> None:
        """Close the file, and remove what is not in its place."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._unfinished is not None:
            self._unfinished.unlink(missing_ok=True)
        self._file = self._unfinished = None

    def _status(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot_write(error) from error

    def _refuse_others_file(self, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise ConfigurationError(f"--rejects: {self.path} is a folder; name a file")
        if not stat.S_ISREG(status.st_mode):
            return
        if _is_open(status, 1) or _is_open(status, 2):
            raise ConfigurationError(
                f"--rejects: {self.path} is where the output goes; name another file"
            )
        if not _is_report(self.path):
            raise ConfigurationError(
                f"--rejects: {self.path} exists and is not a report of an import; "
                "move it, or name another file"
            )

    def _cannot_write(self, error: OSError) -> ConfigurationError:
        remedy = "free space or name" if error.errno in _NO_SPACE else "name"
        return ConfigurationError(
            f"--rejects: cannot write {self.path} ({error.strerror}); {remedy} another file, and "
            "import again"
        )


def _is_open(status: os.stat_result, descriptor: int) -> bool:
    """Is this the same file, by whatever name, as an open one? Devices may be both."""
    try:
        return not stat.S_ISCHR(status.st_mode) and os.path.samestat(status, os.fstat(descriptor))
    except OSError:
        return False


def _is_report(path: Path) -> bool:
    """Is every line exactly as we write it? An empty file is one: nothing in it can be lost."""
    try:
        with path.open(encoding="utf-8") as lines:
            return all(_is_record(line) for line in lines)
    except (OSError, UnicodeDecodeError):
        return False


def _is_record(line: str) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(record, dict) and list(record) == _FIELDS and json.dumps(record) + "\n" == line
    )

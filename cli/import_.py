"""`purser import`: append recorded history."""

import errno
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from operations.console import progress, say
from schemas.errors import ConfigurationError, InputError
from schemas.ids import check_id
from writer.importing.bulk import BadLine, BulkAppender, DryRun, Outcome, Target
from writer.importing.lines import read_lines
from writer.importing.run import Importer
from writer.postgres import open_store
from writer.settings import WriterSettings

BAD_LINES_SHOWN = 20
RAW_SHOWN_BYTES = 65_536
REJECTED = 1


class Rejects:
    """Collects bad lines: the first ones on standard error, all of them in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: TextIO | None = None

    def add(self, bad: BadLine) -> None:
        """Report one line; raises ConfigurationError if the file cannot be written."""
        self.count += 1
        if self.count <= BAD_LINES_SHOWN:
            say(f"line {bad.line.number}: {bad.error}")
        elif self.count == BAD_LINES_SHOWN + 1:
            say(f"more bad lines follow; all are in {self.path}")
        record = {
            "line": bad.line.number,
            "field": bad.error.field,
            "reason": bad.error.problem,
            "raw": bad.line.raw[:RAW_SHOWN_BYTES].decode("utf-8", errors="backslashreplace"),
        }
        try:
            if self._file is None:
                self._file = self.path.open("w", encoding="utf-8")
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise ConfigurationError(
                f"--rejects: cannot write {self.path} ({error.strerror}); name another file"
            ) from error

    def close(self) -> None:
        """Flush and close the file, if there is one."""
        if self._file is not None:
            self._file.close()


def _provider(name: str) -> str:
    try:
        return check_id("psp", name)
    except InputError as error:
        raise typer.BadParameter(error.problem) from None


def import_(
    file: Annotated[str, typer.Argument(help="JSON Lines, plain or gzip; - reads standard input.")],
    psp: Annotated[
        str,
        typer.Option(help="The payment service provider of the payments.", callback=_provider),
    ] = "imported",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every line without appending; needs no server.")
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(help="File for bad lines; by default FILE.rejected.jsonl in this folder."),
    ] = None,
) -> None:
    """Append recorded history, one payment a line. The rules of live traffic check each line.

    A line is {"idempotency_key", "buyer_id", "currency", "method", "created_at", "orders":
    [{"order_id", "seller_id", "amount_minor", "commission_minor", "logistics_fee_minor"}],
    "events": [{"type", "at", "order_id"?, "amount_minor"?, "refund_id"?}]}. Amounts are in minor
    units, times have a time zone, and events are listed in the order in which they happened. An
    event without order_id applies to every order; without amount_minor, to all that is left.

    A bad line is skipped and reported with its number and reason; the others are appended.
    Importing a file again changes nothing. After an interruption, importing it again resumes.
    Exit status: 0 every line is imported, 1 some were rejected, 2 could not run, 64 wrong usage,
    130 interrupted.

    Example: purser import --psp stripe history.jsonl.gz
    """
    started = time.monotonic()
    name = "standard input" if file == "-" else file
    rejected = Rejects(
        rejects or Path(f"{'stdin' if file == '-' else Path(file).name}.rejected.jsonl")
    )
    with ExitStack() as stack:
        source = stack.enter_context(_opened(file))
        stack.callback(rejected.close)
        target = stack.enter_context(_target(dry_run=dry_run))
        report = stack.enter_context(progress())
        size = _size(source)

        def on_progress(total: Outcome) -> None:
            figures = _figures(total, time.monotonic() - started)
            report(f"importing {name}", _position(source), size, figures)

        importer = Importer(target, psp=psp, on_bad_line=rejected.add, on_progress=on_progress)
        try:
            importer.run(read_lines(source, name))
        except KeyboardInterrupt:
            say("interrupted; run the same command again to continue")
            raise
        finally:
            seconds = time.monotonic() - started
            stack.callback(_summarize, importer.total, rejected, seconds, dry_run=dry_run)
    if rejected.count:
        raise typer.Exit(REJECTED)


def _opened(file: str) -> AbstractContextManager[io.BufferedReader]:
    if file == "-":
        return _standard_input()
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}; name a file to import") from error


def _standard_input() -> io.BufferedReader:
    try:
        os.read(sys.stdin.fileno(), 0)
    except OSError as error:
        closed = "is closed" if error.errno == errno.EBADF else f"cannot be read ({error.strerror})"
        raise ConfigurationError(f"standard input {closed}; name a file to import") from error
    return open(sys.stdin.fileno(), "rb", closefd=False)


@contextmanager
def _target(*, dry_run: bool) -> Iterator[Target]:
    if dry_run:
        yield DryRun()
        return
    with open_store(WriterSettings.load().postgres_dsn.get_secret_value()) as store:
        yield BulkAppender(store)


def _summarize(total: Outcome, rejected: Rejects, seconds: float, *, dry_run: bool) -> None:
    """Print what is certain, even if the import did not finish."""
    verb = "would be appended" if dry_run else "appended"
    typer.echo(
        f"{total.payments:,} payments with {total.events:,} events {verb}, "
        f"{total.unchanged:,} unchanged, {rejected.count:,} lines rejected, "
        f"{seconds:.1f} s, {total.events / max(seconds, 0.001):,.0f} events/s"
    )
    if rejected.count:
        say(f"rejected lines and reasons: {rejected.path}")


def _figures(total: Outcome, seconds: float) -> str:
    rate = total.events / max(seconds, 0.001)
    return f"{total.payments + total.unchanged:,} payments, {rate:,.0f} events/s"


def _size(source: io.BufferedReader) -> int:
    """Bytes of the file; 0 for a pipe, whose size is unknown."""
    if not source.seekable():
        return 0
    here = source.tell()
    size = source.seek(0, io.SEEK_END)
    source.seek(here)
    return size


def _position(source: io.BufferedReader) -> int:
    """Bytes read so far; of a compressed file, compressed bytes."""
    return source.tell() if source.seekable() else 0

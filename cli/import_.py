"""`purser import`: append recorded history."""

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.rejects import Rejects, report_of
from operations.console import progress, say
from schemas.errors import ConfigurationError, InputError
from schemas.ids import MAX_NAME_LENGTH, check_id
from writer.importing.bulk import BulkAppender, DryRun, Outcome, Target
from writer.importing.lines import read_lines
from writer.importing.run import Importer
from writer.postgres import open_store
from writer.settings import WriterSettings

REJECTED = 1


def _provider(name: str) -> str:
    try:
        return check_id("psp", name, max_length=MAX_NAME_LENGTH)
    except InputError as error:
        raise typer.BadParameter(error.problem) from None


def _named(file: str | None) -> str | None:
    if file == "":
        raise typer.BadParameter("names no file")
    return file


_File = Annotated[
    str, typer.Argument(help="JSON Lines, plain or gzip; - reads standard input.", callback=_named)
]
_Rejects = Annotated[
    str | None,
    typer.Option(help="File for bad lines; by default FILE.rejected.jsonl.", callback=_named),
]


def import_(
    file: _File,
    psp: Annotated[
        str,
        typer.Option(help="The payment service provider of the payments.", callback=_provider),
    ] = "imported",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every line without appending; needs no server.")
    ] = False,
    rejects: _Rejects = None,
) -> None:
    """Append recorded history, one payment a line. The rules of live traffic check each line.

    A line is {"idempotency_key", "buyer_id", "currency", "method", "created_at", "orders":
    [{"order_id", "seller_id", "amount_minor", "commission_minor", "logistics_fee_minor"}],
    "events": [{"type", "at", "order_id"?, "amount_minor"?, "refund_id"?}]}. Amounts are in minor
    units, times are RFC 3339, and events are listed in the order in which they happened. An
    event without order_id applies to every order; without amount_minor, to all that is left.

    A bad line is skipped and reported with its number and reason; the others are appended.
    Importing a file again changes nothing. After an interruption, importing it again resumes.
    Exit status: 0 every line is imported, 1 some were rejected, 2 could not run, 64 wrong usage,
    130 interrupted.

    Example: purser import --psp stripe history.jsonl.gz
    """
    started = time.monotonic()
    name = "standard input" if file == "-" else file
    rejected = Rejects(Path(rejects) if rejects else report_of(file))
    with ExitStack() as stack:
        source = stack.enter_context(_opened(file))
        stack.callback(rejected.close)
        target = stack.enter_context(_target(dry_run=dry_run))
        rejected.begin(source)
        report = stack.enter_context(progress())
        size = _size(source)

        def on_progress(total: Outcome) -> None:
            figures = _figures(total, time.monotonic() - started)
            report(f"importing {name}", _position(source), size, figures)

        def on_check() -> None:
            report(f"checking {name}", _position(source), size)

        importer = Importer(target, psp=psp, on_bad_line=rejected.add, on_progress=on_progress)
        try:
            importer.run(read_lines(source, name, on_check))
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


def _figures(total: Outcome, seconds: float) -> str:
    rate = total.events / max(seconds, 0.001)
    return f"{total.payments + total.unchanged:,} payments, {rate:,.0f} events/s"


def _size(source: io.BufferedReader) -> int:
    """Bytes of the file; 0 for a pipe or a device, whose size is unknown."""
    status = os.fstat(source.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _position(source: io.BufferedReader) -> int:
    """Bytes read so far; of a compressed file, compressed bytes."""
    return source.tell() if source.seekable() else 0

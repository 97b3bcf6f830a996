"""`purser books`: checks that a PSP's books and `payments` agree."""

from datetime import date
from typing import Annotated

import typer

from cli.books_report import show
from operations.books import BooksSettings, Options, Report, Verdict, compare_books
from operations.books.psps import check_psp, open_books
from operations.books.run import GRACE_SECONDS, TIMEOUT_SECONDS
from operations.console import print_json, progress, say, wide_console
from schemas.errors import PurserError, UsageError
from writer.migrate import check_schema

COULD_NOT_TELL = 2


def books(
    psp: Annotated[str, typer.Option(help="The payment service provider, as in payments.")] = (
        "stripe"
    ),
    since: Annotated[
        str | None, typer.Option(help="First day (UTC) of its books to compare: 2026-01-31.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to look again at what differs.")
    ] = TIMEOUT_SECONDS,
    grace: Annotated[
        float,
        typer.Option(help="Seconds from which on money that one side lacks is a difference."),
    ] = GRACE_SECONDS,
    rows: Annotated[int, typer.Option(help="Differences to show, 0 to 500.")] = 20,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object on standard output, even if it fails."),
    ] = False,
) -> None:
    """Prove that a payment service provider's books and payments agree, to the cent.

    The command reads the provider's books through its API, and what payments says about charges,
    refunds and disputes. It compares both by charge, refund and dispute, and looks again at what
    differs, because both sides move. It only reads. Exit status: 0 they agree, 1 they differ (the
    differences are shown), 2 could not tell (a server is down, money is still under way), 64 wrong
    usage.

    Example: purser books --since 2026-01-01 --json
    """
    day = _day(since)
    try:
        check_psp(psp)
        with progress() as on_progress:
            options = Options(
                since=day,
                grace_seconds=grace,
                timeout_seconds=timeout,
                rows=rows,
                on_progress=on_progress,
            )
            settings = BooksSettings.load()
            opened = open_books(psp)
            check_schema(settings.postgres_reader_dsn.get_secret_value())
            report = compare_books(settings, options, opened)
    except UsageError:
        raise  # nothing was looked at
    except PurserError as error:
        # A failure to look says nothing about whether the two sides agree.
        if as_json:
            print_json(Report(verdict=Verdict.UNDECIDED, psp=psp, reason=str(error)).to_json())
        say(f"purser: {error}")
        raise typer.Exit(COULD_NOT_TELL) from None
    if as_json:
        print_json(report.to_json())
    else:
        show(report, wide_console())
    if report.exit_status:
        raise typer.Exit(report.exit_status)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("--since", f"{text!r} is not a day; give one like 2026-01-31") from None

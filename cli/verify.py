"""`purser verify`: checks that ClickHouse holds what PostgreSQL holds."""

from datetime import date
from typing import Annotated

import typer

from cli.verify_report import show
from operations.console import print_json, progress, say, wide_console
from operations.verify import Options, Report, Verdict, VerifySettings, Window
from operations.verify import verify as run
from schemas.errors import PurserError, UsageError
from writer.migrate import check_schema

COULD_NOT_TELL = 2


def verify(
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for rows that may still be in flight.")
    ] = 60.0,
    rows: Annotated[int, typer.Option(help="Differences to show for each check, 0 to 500.")] = 20,
    since: Annotated[
        str | None, typer.Option(help="First day to verify (UTC, by occurred_at): 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day to verify.")] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object on standard output, even if it fails."),
    ] = False,
) -> None:
    """Prove that ClickHouse holds exactly what PostgreSQL holds, under live traffic.

    The command compares the events of one snapshot, to the row and the cent, and recomputes every
    view from them. It only reads. Exit status: 0 equal, 1 diverged (the differences are shown),
    2 could not tell (the views lag, a server is down, a schema is missing, no event is in the
    range), 64 wrong usage.

    Example: purser verify --since 2026-01-01 --json
    """
    window = Window(since=_day("--since", since), until=_day("--until", until))
    try:
        with progress() as on_progress:
            options = Options(
                timeout_seconds=timeout, rows=rows, window=window, on_progress=on_progress
            )
            settings = VerifySettings.load()
            check_schema(settings.postgres_reader_dsn.get_secret_value())
            report = run(settings, options)
    except UsageError:
        raise  # nothing was looked at
    except PurserError as error:
        # A failure to look says nothing about whether the two sides are equal.
        if as_json:
            print_json(Report(verdict=Verdict.UNDECIDED, reason=str(error)).to_json())
        say(f"purser: {error}")
        raise typer.Exit(COULD_NOT_TELL) from None
    if as_json:
        print_json(report.to_json())
    else:
        show(report, wide_console())
    if report.exit_status:
        raise typer.Exit(report.exit_status)


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(option, f"{text!r} is not a day; give one like 2026-01-31") from None

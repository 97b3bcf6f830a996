"""`purser replay`: rebuilds views beside the live ones, proves them equal, swaps them in."""

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.verify_report import show
from operations.console import print_json, progress, say, wide_console
from operations.replay import (
    VIEWS,
    Choice,
    Digest,
    Options,
    Outcome,
    Replay,
    ReplayDiverged,
    ReplaySettings,
    Source,
    clean_up,
    digests,
    opened,
    roll_back,
)
from operations.replay.database import DRY_RUN_SUFFIX, ReplayDatabase
from operations.verify import Report
from operations.verify.views import Views
from schemas.errors import PurserError, UsageError

DIFFERS = 1
COULD_NOT_TELL = 2
_INTERRUPTED = {
    "rebuild": "run the same command again to resume, or drop the new tables with --cleanup",
    "dry-run": "the next dry run starts from the beginning; --cleanup drops what this one built",
    "digest": "nothing was changed",
    "rollback": "run the same command again to resume",
    "cleanup": "run the same command again",
}
"""Mode -> what to do after an interruption."""

ViewNames = Annotated[
    list[str] | None,
    typer.Argument(help=f"Any of {', '.join(view.name for view in VIEWS)}; all by default."),
]
Origin = Annotated[
    Source, typer.Option(help="Read history from the Kafka topic or from the payments table.")
]
Processes = Annotated[
    int | None, typer.Option(help="Reader processes, 1 to 256; one per core by default.")
]
Rate = Annotated[float | None, typer.Option(help="Limit for bulk reading, in records per second.")]
Timeout = Annotated[float, typer.Option(help="Seconds that verify waits for rows in flight.")]
OnlyDigest = Annotated[
    bool, typer.Option("--digest", help="Only print digests of the live and the rebuilt tables.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Build, prove and drop the new tables; swap nothing.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Swap even if the new tables differ from PostgreSQL; with --cleanup: drop the tables"
        " even if a swap is unfinished.",
    ),
]
Rollback = Annotated[
    bool, typer.Option("--rollback", help="Return to the tables from before the replay.")
]
Cleanup = Annotated[
    bool, typer.Option("--cleanup", help="Drop the old or half-built tables of a replay.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, even after a failure.")
]


def replay(
    views: ViewNames = None,
    source: Origin = Source.KAFKA,
    processes: Processes = None,
    rate: Rate = None,
    timeout: Timeout = 60.0,
    digest: OnlyDigest = False,
    dry_run: DryRun = False,
    force: Force = False,
    rollback: Rollback = False,
    cleanup: Cleanup = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild views from the topic under live traffic.

    The command builds new tables in a separate database, compares them with one PostgreSQL
    snapshot, to the row and the cent, and exchanges each with the live table atomically. The live
    worker is not paused. After an interruption, run it again to resume. The old tables are kept
    until --cleanup.

    Exit status: 0 done and equal, 1 the tables differ (the differences are shown), 2 could not run
    (a server is down, history is gone, another replay is running), 64 wrong usage, 130 interrupted.

    Example: purser replay seller_revenue --rate 20000
    """
    modes = {"digest": digest, "dry-run": dry_run, "rollback": rollback, "cleanup": cleanup}
    mode = _mode([name for name, given in modes.items() if given], force=force)
    try:
        with progress() as on_progress:
            options = Options(
                views=tuple(views or ()),
                source=source,
                readers=len(os.sched_getaffinity(0)) if processes is None else processes,
                records_per_second=rate,
                verify_seconds=timeout,
                force=force,
                dry_run=dry_run,
                on_step=say,
                on_progress=on_progress,
            )
            status, document = _WORK[mode](ReplaySettings.load(), options, as_json)
    except ReplayDiverged as error:
        if not as_json:
            show(error.report, wide_console())
        _finish(error, DIFFERS, as_json, {"verify": error.report.to_json()})
    except UsageError:
        raise  # nothing was looked at
    except PurserError as error:
        _finish(error, COULD_NOT_TELL, as_json, {})
    except KeyboardInterrupt:
        say(f"interrupted; {_INTERRUPTED[mode]}")
        raise
    else:
        if as_json:
            print_json(document)
        if status:
            raise typer.Exit(status)


def _mode(given: list[str], *, force: bool) -> str:
    """The mode of the run; raises UsageError if the options contradict each other."""
    if len(given) > 1:
        raise UsageError(given[1], f"cannot be together with --{given[0]}; give one of them")
    if force and given and given[0] != "cleanup":
        raise UsageError("force", f"cannot be together with --{given[0]}")
    return given[0] if given else "rebuild"


def _finish(error: PurserError, status: int, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        print_json({"status": "failed", "reason": str(error), **more})
    say(f"purser: {error}")
    raise typer.Exit(status) from None


# -- the work of each mode: settings, options, whether JSON is wanted -> exit status, document

Result = tuple[int, dict[str, Any]]


def _rebuild(settings: ReplaySettings, options: Options, as_json: bool) -> Result:
    Choice.of(options.views)  # refuses unknown names before anything connects
    with opened(settings) as (database, lock):
        outcome = Replay(settings, options, database, lock).run()
    if not as_json:
        _show_outcome(outcome, wide_console())
    document = {
        "status": "diverged" if outcome.diverged else "done",
        "views": list(outcome.views),
        "source": outcome.source,
        "resumed_at": outcome.resumed_at,
        "records": outcome.records,
        "bulk_seconds": round(outcome.bulk_seconds, 3),
        "followed": outcome.followed,
        "dead_letters": outcome.dead,
        "rows": outcome.rows,
        "seconds": round(outcome.seconds, 3),
        "verify_before_swap": outcome.before.to_json() if outcome.before else None,
        "verify_after_swap": outcome.after.to_json() if outcome.after else None,
    }
    status = outcome.after.exit_status if outcome.after else 0
    return status, document


def _show_outcome(outcome: Outcome, console: Console) -> None:
    if outcome.after is not None and outcome.after.exit_status:
        show(outcome.after, console)
    rate = outcome.records / max(outcome.bulk_seconds, 0.001)
    bulk = f"{outcome.records:,} records in bulk ({rate:,.0f}/s), " if outcome.records else ""
    dead = f", {outcome.dead:,} of them cannot be folded" if outcome.dead else ""
    console.print(f"replayed  {bulk}{outcome.followed:,} while following{dead}")
    for name, count in outcome.rows.items():
        console.print(f"          {name} has {count:,} rows")
    verdicts = [
        f"{report.verdict} {when}"
        for report, when in ((outcome.before, "before the swap"), (outcome.after, "after it"))
        if report is not None
    ]
    console.print(f"verify    {', '.join(verdicts)}")
    console.print(
        f"took      {outcome.seconds:.1f} s; the old tables are kept: --rollback returns to them,"
        " --cleanup drops them",
        soft_wrap=True,
    )


def _dry_run(settings: ReplaySettings, options: Options, as_json: bool) -> Result:
    Choice.of(options.views)  # refuses unknown names before anything connects
    with opened(settings, DRY_RUN_SUFFIX) as (database, lock):
        database.drop()  # remainder of an interrupted dry run
        outcome = Replay(settings, options, database, lock).run()
    assert outcome.before is not None
    assert outcome.after is not None
    verdicts = {"rebuilt": outcome.before, "live": outcome.after}
    status = max(report.exit_status for report in verdicts.values())
    if any(report.exit_status == DIFFERS for report in verdicts.values()):
        status = DIFFERS  # a proven difference outweighs an undecided check
    if not as_json:
        _show_dry_run(outcome, verdicts, wide_console())
    return status, {
        "status": {0: "equal", DIFFERS: "differs"}.get(status, "undecided"),
        "views": list(outcome.views),
        "records": outcome.records,
        "followed": outcome.followed,
        "dead_letters": outcome.dead,
        "seconds": round(outcome.seconds, 3),
        **{f"verify_{name}": report.to_json() for name, report in verdicts.items()},
    }


def _show_dry_run(outcome: Outcome, verdicts: dict[str, Report], console: Console) -> None:
    for report in verdicts.values():
        if report.exit_status:
            show(report, console)
    dead = f", {outcome.dead:,} of them cannot be folded" if outcome.dead else ""
    console.print(f"folded    {outcome.records + outcome.followed:,} records{dead}")
    for name, report in verdicts.items():
        console.print(f"{name:<10}{report.verdict}")
    console.print(
        f"took      {outcome.seconds:.1f} s; nothing was swapped, the new tables were dropped"
    )


def _digest(settings: ReplaySettings, options: Options, as_json: bool) -> Result:
    choice = Choice.of(options.views)
    url = settings.clickhouse_url.get_secret_value()
    found: dict[str, dict[str, Digest]] = {}
    with ReplayDatabase(url) as database, Views(url) as views:
        names = [database.live, *([database.name] if database.exists() else [])]
        for name in names:
            options.on_step(f"digest of database {name}")
            found[name] = digests(views, choice.swapped, name)
    if not as_json:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("database", "table", "rows", "digest"):
            table.add_column(heading, justify="right" if heading == "rows" else "left")
        for database_name, tables in found.items():
            for name, one in tables.items():
                table.add_row(database_name, name, f"{one.rows:,}", str(one))
        wide_console().print(table)
    return 0, {
        "databases": {
            database_name: {name: one.to_json() for name, one in tables.items()}
            for database_name, tables in found.items()
        }
    }


def _rollback(settings: ReplaySettings, options: Options, as_json: bool) -> Result:
    with opened(settings) as (database, _lock):
        done = roll_back(settings, options, database)
    if not as_json:
        typer.echo(
            f"{', '.join(done.views)}: the old tables are live again, with {done.followed:,}"
            " records that they lacked; --cleanup drops those of the replay"
        )
    return 0, {"status": "rolled back", "views": list(done.views), "followed": done.followed}


def _cleanup(settings: ReplaySettings, options: Options, as_json: bool) -> Result:
    dropped = []
    with opened(settings) as (database, _lock):
        if database.exists():
            clean_up(database, force=options.force)
            dropped.append(database.name)
    with opened(settings, DRY_RUN_SUFFIX) as (database, _lock):
        if database.exists():
            database.drop()
            dropped.append(database.name)
    if not as_json:
        typer.echo(f"dropped: {', '.join(dropped) or 'nothing, there was nothing to drop'}")
    if dropped and options.force:
        say("if a swap was unfinished, the live views may lack its last rows: run `purser verify`")
    return 0, {"status": "cleaned up", "dropped": dropped}


_WORK: dict[str, Callable[[ReplaySettings, Options, bool], Result]] = {
    "rebuild": _rebuild,
    "dry-run": _dry_run,
    "digest": _digest,
    "rollback": _rollback,
    "cleanup": _cleanup,
}

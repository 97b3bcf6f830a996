"""`purser status`: shows whether every process runs and answers, and whether events flow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connectors.debezium.client import ConnectClient, ConnectorHealth
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import SlotHealth, read_slot
from operations.console import print_json
from operations.dead_letters import DeadLetters
from schemas.errors import SchemaVersionError, ServiceUnavailable
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import StackSettings
from stack.status import ProcessState, ProcessStatus
from stack.topology import VIEWS_WORKER_NAMES

CONNECT_RETRY_SECONDS = 3.0
MEGABYTE = 1024 * 1024


class Verdict(StrEnum):
    """The overall state."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DOWN = "down"


EXIT_STATUS = {Verdict.HEALTHY: 0, Verdict.UNHEALTHY: 1, Verdict.DOWN: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of `purser status`; None where a server could not be asked."""

    verdict: Verdict
    problems: tuple[str, ...]
    processes: tuple[ProcessStatus, ...]
    replication_slot: SlotHealth | None
    connector: ConnectorHealth | None
    workers: dict[str, dict[str, Any]]
    dead_letters_open: int | None = None

    @property
    def views_lag_records(self) -> int:
        """Records that the views workers have not processed yet, in total."""
        reports = (self.workers.get(name, {}) for name in VIEWS_WORKER_NAMES)
        return sum(each.get("lag_records", 0) for each in reports)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for `--json`."""
        return {
            "status": self.verdict.value,
            "problems": list(self.problems),
            "processes": [asdict(process) for process in self.processes],
            "replication_slot": asdict(self.replication_slot) if self.replication_slot else None,
            "connector": asdict(self.connector) if self.connector else None,
            "workers": self.workers,
            "dead_letters_open": self.dead_letters_open,
            "views_lag_records": self.views_lag_records,
        }


def report(stack: Stack) -> Report:
    """Check everything once; raises ConfigurationError if the stack was never up."""
    processes = stack.status()
    problems = [process.problem for process in processes if process.problem]
    if all(process.pid is None for process in processes):
        return Report(
            verdict=Verdict.DOWN,
            problems=("the stack is not running; `purser up` starts it",),
            processes=processes,
            replication_slot=None,
            connector=None,
            workers={},
        )
    settings = DebeziumSettings.load()
    running = {each.name for each in processes if each.state is ProcessState.RUNNING}
    slot = connector = dead_letters_open = None
    if "postgres" in running:
        try:
            slot = read_slot(stack.endpoints.postgres_reader_dsn, settings.slot)
            problems += slot.problems(settings.heartbeat_seconds)
        except ServiceUnavailable as error:
            problems.append(str(error))
    if "connect" in running:
        url = stack.endpoints.connect_url
        try:
            with ConnectClient(url, retry_seconds=CONNECT_RETRY_SECONDS) as client:
                connector = client.health(settings.connector)
            if not connector.healthy:
                problems.append(f"connector {connector.name}: {connector.problem()}")
        except ServiceUnavailable as error:
            problems.append(str(error))
    if "clickhouse" in running:
        try:
            with DeadLetters(ClickHouseSettings.load(stack.endpoints.clickhouse_url)) as letters:
                dead_letters_open = letters.count_open()
        except (ServiceUnavailable, SchemaVersionError) as error:
            problems.append(str(error))
    return Report(
        verdict=Verdict.UNHEALTHY if problems else Verdict.HEALTHY,
        problems=tuple(dict.fromkeys(problems)),  # several checks may report the same cause
        processes=processes,
        replication_slot=slot,
        connector=connector,
        workers=stack.worker_reports(),
        dead_letters_open=dead_letters_open,
    )


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")
    ] = False,
) -> None:
    """Show each process, Debezium's replication slot and connector, and what is wrong.

    Exit status: 0 healthy, 1 something is unhealthy, 2 not running.

    Example: purser status --json | jq .problems
    """
    found = report(Stack(StackSettings.load()))
    if as_json:
        print_json(found.as_json())
    else:
        show(found)
    raise typer.Exit(EXIT_STATUS[found.verdict])


def show(found: Report) -> None:
    """Print a report for people."""
    console = Console(highlight=False, emoji=False)
    table = Table("process", "state", "pid", "uptime", "restarts", "memory", box=None)
    for each in found.processes:
        bad = each.problem is not None
        table.add_row(
            each.name,
            Text(each.state.value, style="red" if bad else "green"),
            str(each.pid or "-"),
            _duration(each.uptime_seconds),
            str(each.restarts),
            f"{each.memory_bytes // MEGABYTE} MB" if each.memory_bytes else "-",
        )
    console.print(table)
    if found.replication_slot:
        _line(console, "replication slot", _slot_line(found.replication_slot))
    if found.connector:
        _line(console, "connector", _connector_line(found.connector))
    for name, worker in found.workers.items():
        _line(console, name, _worker_line(worker))
    if found.dead_letters_open is not None:
        _line(console, "dead letters", f"{found.dead_letters_open:,} open")
    if sum(name in VIEWS_WORKER_NAMES for name in found.workers) > 1:
        _line(console, "views workers together", f"{found.views_lag_records} records behind")
    for problem in found.problems:
        console.print(Text(f"problem: {problem}", style="bold red"), soft_wrap=True)
    console.print(
        Text(found.verdict.value, style="green" if found.verdict is Verdict.HEALTHY else "red")
    )


def _line(console: Console, name: str, text: str) -> None:
    console.print(f"{name}: {text}", markup=False, soft_wrap=True)


def _slot_line(slot: SlotHealth) -> str:
    if slot.wal_status is None:
        return f"{slot.name} does not exist"
    read = "active" if slot.active else "inactive"
    beat = slot.heartbeat_age_seconds
    age = f"{beat:.0f} s ago" if beat is not None else "never"
    return (
        f"{slot.name} {read}, WAL {slot.wal_status}, {slot.lag_bytes} bytes behind,"
        f" last heartbeat {age}"
    )


def _worker_line(report: Mapping[str, Any]) -> str:
    if "restarts" in report:
        return (
            f"Connect found down {report['connect_gone']} times, connector restarted"
            f" {report['restarts']} times, hanging transactions ended in"
            f" {report['transactions_ended']} partitions"
        )
    lag = report.get("lag_records")
    return "lag unknown" if lag is None else f"{lag} records behind"


def _connector_line(connector: ConnectorHealth) -> str:
    tasks = ", ".join(f"task {task.number} {task.state}" for task in connector.tasks) or "no task"
    return f"{connector.name} {connector.state}, {tasks}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

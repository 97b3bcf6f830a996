"""`purser status`: shows whether every process runs, and whether events come out at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connectors.debezium.client import ConnectorHealth
from connectors.debezium.publication import Publication
from connectors.debezium.slot import SlotHealth
from operations.console import print_json
from operations.health import Ends, Findings, LoudState, Problem, TopicHealth, examine
from operations.health.ends import spoken
from operations.health.states import RUN_BOOK
from stack.native import Stack
from stack.settings import StackSettings
from stack.status import ProcessState, ProcessStatus
from stack.topology import VIEWS_WORKER_NAMES

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
    loud: tuple[Problem, ...]
    processes: tuple[ProcessStatus, ...]
    findings: Findings = field(default_factory=Findings)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems in words."""
        return tuple(problem.text for problem in self.loud)

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
            "states": [problem.state.value for problem in self.loud],
            "processes": [asdict(process) for process in self.processes],
            "replication_slot": _plain(self.findings.slot),
            "publication": _plain(self.findings.publication),
            "connector": _plain(self.findings.connector),
            "topic": _plain(self.findings.topic),
            "ends": _plain(self.findings.ends),
            "workers": self.workers,
            "dead_letters_open": self.findings.dead_letters_open,
            "views_lag_records": self.views_lag_records,
        }


def _plain(found: Any) -> Any:
    return msgspec.to_builtins(found, str_keys=True)


def report(stack: Stack) -> Report:
    """Check everything once; raises ConfigurationError if the stack was never up."""
    processes = stack.status()
    disks = [
        Problem(state=LoudState.DISK, text=disk.problem) for disk in stack.disks() if disk.problem
    ]
    if all(process.pid is None for process in processes):
        down = "the stack is not running; `purser up` starts it"
        return Report(
            verdict=Verdict.DOWN,
            loud=(*disks, Problem(state=LoudState.STACK_DOWN, text=down)),
            processes=processes,
        )
    running = {each.name for each in processes if each.state is ProcessState.RUNNING}
    found = examine(stack.endpoints, running)
    problems = disks + [
        Problem(state=LoudState.PROCESS, text=process.problem)
        for process in processes
        if process.problem
    ]
    problems += found.problems
    return Report(
        verdict=Verdict.UNHEALTHY if problems else Verdict.HEALTHY,
        # Several checks may report the same cause.
        loud=tuple({problem.text: problem for problem in reversed(problems)}.values())[::-1],
        processes=processes,
        findings=found,
        workers=stack.worker_reports(),
    )


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")
    ] = False,
) -> None:
    """Show each process, every part of an event's way, and what is wrong.

    The newest events of PostgreSQL must be visible in ClickHouse. docs/reference/status.md says for
    each problem what it means and what heals it.

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
    _show_findings(console, found.findings)
    for name, worker in found.workers.items():
        if line := _worker_line(worker):
            _line(console, name, line)
    if sum(name in VIEWS_WORKER_NAMES for name in found.workers) > 1:
        _line(console, "views workers together", f"{found.views_lag_records} records behind")
    for problem in found.loud:
        console.print(Text(f"problem: {problem.text}", style="bold red"), soft_wrap=True)
        console.print(f"  see {RUN_BOOK}#{problem.state}", markup=False, soft_wrap=True)
    console.print(
        Text(found.verdict.value, style="green" if found.verdict is Verdict.HEALTHY else "red")
    )


def _show_findings(console: Console, found: Findings) -> None:
    if found.slot:
        _line(console, "replication slot", _slot_line(found.slot))
    if found.publication:
        _line(console, "publication", _publication_line(found.publication))
    if found.connector:
        _line(console, "connector", _connector_line(found.connector))
    if found.topic:
        _line(console, "topic", _topic_line(found.topic))
    if found.ends:
        _line(console, "newest events", _ends_line(found.ends))
    if found.dead_letters_open is not None:
        _line(console, "dead letters", f"{found.dead_letters_open:,} open")


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
    if "webhooks_waiting" in report:
        ahead = spoken(report["clock_ahead_seconds"])
        return f"{report['webhooks_waiting']} webhooks waiting, its clock is {ahead} ahead"
    if "restarts" in report:
        return (
            f"Connect found down {report['connect_gone']} times, connector restarted"
            f" {report['restarts']} times, hanging transactions ended in"
            f" {report['transactions_ended']} partitions"
        )
    if "lag_records" not in report:
        return ""  # it reads no topic
    lag = report["lag_records"]
    return "lag unknown" if lag is None else f"{lag} records behind"


def _connector_line(connector: ConnectorHealth) -> str:
    tasks = ", ".join(f"task {task.number} {task.state}" for task in connector.tasks) or "no task"
    return f"{connector.name} {connector.state}, {tasks}"


def _publication_line(publication: Publication) -> str:
    if not publication.exists:
        return f"{publication.name} does not exist"
    wrong = "does not say what it should" if publication.problems() else "says what it should"
    return f"{publication.name} {wrong}"


def _topic_line(topic: TopicHealth) -> str:
    if topic.topic_id is None:
        return f"{topic.name} does not exist"
    read = topic.partitions - len(topic.unread)
    return (
        f"{topic.name}, {read} of {topic.partitions} partitions read, group {topic.group}"
        f" {topic.group_state.lower()}"
    )


def _ends_line(ends: Ends) -> str:
    older = f"older than {spoken(ends.limit_seconds)}"
    if ends.newest_age_seconds is None:
        return f"none is {older}"
    age = spoken(ends.newest_age_seconds)
    if not ends.invisible:
        return f"all {ends.compared} {older} are visible, the newest recorded {age} ago"
    return (
        f"{ends.invisible} of {ends.compared} {older} are not visible, the newest recorded"
        f" {age} ago"
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

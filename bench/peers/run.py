"""The section `peers`: one topic, one table, one process each, totals checked, ratios to goals.

The clock of a run starts with its first record and stops when its last row is confirmed, so
start-up is not included. With several live workers it starts when each has its partitions. The
servers share the cores with the measured process, so CPU per event is reported too.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from tempfile import mkdtemp
from typing import Protocol
from uuid import uuid4

import psutil

from bench.figures import Figure, at_least
from bench.peers import clickhouse_sink
from bench.peers.clickhouse_sink import FORMS, Form
from bench.peers.field import Field, Run, end, prepared, spent_seconds, started
from bench.peers.trickle import trickles
from bench.sections import Bench, worker_stopped
from bench.servers import wait_until
from bench.workers import has_partitions
from operations.console import say
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.views import PAYMENT_EVENTS
from stack.ports import lend_port
from stack.settings import CHECKOUT
from streams.fold import FOLDED_TABLES

PEERS_PYTHON = CHECKOUT / ".venv-peers" / "bin" / "python"
RUN_SECONDS = 240.0
SLOW_SHARE = 10
"""Stock Faust reads only this part of the topic; all of it would take minutes."""

_TUNED = ", collector tuned"
"""Name suffix of a peer that runs the garbage collector as rarely as Purser's processes. No
framework does so by default, and all gain from it. The two peers written for this comparison always
do it."""

PEERS = {
    "by hand, confluent consume()": "bench.peers.confluent_loop",
    "bytewax, source of batches": "bench.peers.bytewax_batches",
    "bytewax, stock": "bench.peers.bytewax_stock",
    "quix streams": "bench.peers.quix",
    "pathway": "bench.peers.pathway_",
    "faust, stock": "bench.peers.faust_stock",
    "bytewax, stock" + _TUNED: "bench.peers.bytewax_stock",
    "quix streams" + _TUNED: "bench.peers.quix",
    "pathway" + _TUNED: "bench.peers.pathway_",
    "faust, stock" + _TUNED: "bench.peers.faust_stock",
}
SPARED = {
    "by hand, confluent consume()",
    "bytewax, source of batches",
    *(name for name in PEERS if name.endswith(_TUNED)),
}
SLOW = {"faust, stock", "faust, stock" + _TUNED}

Goal = tuple[str, float]  # peer, ratio at least
GOALS: Mapping[str, tuple[Goal, ...]] = {
    "live worker": (
        ("quix streams", 2.5),
        ("pathway", 3.0),
        ("faust, stock", 12.0),
        *((form.name, 1.0) for form in FORMS),
    ),
    "replay": (
        ("by hand, confluent consume()", 0.9),
        ("bytewax, source of batches", 1.0),
        ("bytewax, stock", 1.0),
    ),
}


def peers(bench: Bench) -> list[Figure]:
    """The rate of every peer, and Purser's ratio to it."""
    if not PEERS_PYTHON.exists():
        raise ConfigurationError("the peers are not installed; run `make peers`")
    section = "peers, payment_events only"
    with worker_stopped(bench), prepared(bench) as where:
        runs = {name: _peer(where, name, module) for name, module in PEERS.items()}
        runs["live worker"] = _live(where, "live worker", PAYMENT_EVENTS.name)
        runs["replay"] = _peer(where, "replay", "bench.peers.replay", python=sys.executable)
        runs |= _sinks(where)
        figures = [figure for name, run in runs.items() for figure in _figures(section, name, run)]
        figures += _ratios(section, runs)
        return (
            figures
            + _scaling("live worker, all views", where, _live)
            + _scaling("replay, all views", where, _replay)
            + trickles(where, bench.seconds, bench.seed)
        )


def _scaling(section: str, where: Field, run: "Runner") -> list[Figure]:
    """All views, with one process and with two."""
    views = ",".join(table.name for table in FOLDED_TABLES)
    runs = [run(where, section, views, processes=processes) for processes in (1, 2)]
    names = ("1 process", "2 processes")
    return [
        *(
            figure
            for name, run in zip(names, runs, strict=True)
            for figure in _figures(section, name, run)
        ),
        Figure(
            section=section,
            name="2 processes",
            value=runs[1].rate,
            unit="events/s",
            baseline="1 process",
            ratio=runs[1].rate / runs[0].rate,
        ),
    ]


def _peer(where: Field, name: str, module: str, python: str = str(PEERS_PYTHON)) -> Run:
    """Run one peer, which measures itself."""
    events = where.events // SLOW_SHARE if name in SLOW else where.events
    where.empty()
    server_before = where.server_seconds()
    done = subprocess.run(
        [python, "-m", module],
        env={
            **where.environment,
            "PURSER_CONSUMER_GROUP": f"bench-{uuid4()}",
            "PURSER_BENCH_EVENTS": str(events),
            "PURSER_BENCH_TUNED": "yes" if name in SPARED else "",
        },
        cwd=mkdtemp(),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ServiceUnavailable(f"{name} failed: {done.stderr[-2000:]}")
    server_seconds = where.server_seconds() - server_before
    result = json.loads(done.stdout.splitlines()[-1])
    where.check(name, whole=events == where.events)
    return Run(**result, server_seconds=server_seconds, rows=int(result["events"]))


class Runner(Protocol):
    """A run of Purser, from its first row to its last."""

    def __call__(self, where: Field, name: str, views: str, *, processes: int) -> Run: ...


def _replay(where: Field, name: str, views: str, *, processes: int) -> Run:
    """The bulk path of a replay; each process reads a share of the partitions."""
    where.empty()
    readers = [
        started(
            where,
            [sys.executable, "-m", "bench.peers.replay"],
            name,
            PURSER_BENCH_VIEWS=views,
            PURSER_BENCH_SHARE=f"{number}/{processes}",
        )
        for number in range(processes)
    ]
    run = _watched(where, readers, views)
    where.check(name, whole=True)
    return run


def _live(where: Field, name: str, views: str, *, processes: int = 1) -> Run:
    """The live worker, from its first row to its last; two processes form one group."""
    where.empty()
    group = f"bench-{uuid4()}"
    ports = [lend_port() for _ in range(processes)]
    workers = [
        started(
            where,
            [sys.executable, "-m", "streams.views.worker"],
            group,
            PURSER_VIEWS=views,
            PURSER_WORKER_METRICS_PORT=str(port),
        )
        for port in ports
    ]
    run = _watched(where, workers, views, joined=lambda: all(map(has_partitions, ports)))
    where.check(name, whole=True)
    return run


def _sinks(where: Field) -> dict[str, Run]:
    """Both forms of ClickHouse's sink, if it is there."""
    if not clickhouse_sink.is_there():
        say(f"ClickHouse's Kafka Connect sink is not in {clickhouse_sink.PLUGINS}; going on")
        return {}
    clickhouse_sink.create_landing(where)
    return {form.name: _sink(where, form) for form in FORMS}


def _sink(where: Field, form: Form) -> Run:
    """The sink reads the topic twice, because Java's compilers warm up in the first reading."""

    def complete() -> bool:
        sink.check()
        # Texts have no offsets; no record comes twice while nothing is restarted.
        return where.rows() >= where.events

    with clickhouse_sink.running(where, form) as sink:
        where.empty()
        sink.read(where.topic)
        wait_until(complete, "the warm-up did not end", seconds=RUN_SECONDS)
        sink.stop_reading()
        where.empty()
        sink.read(where.topic)
        run = _measured(where, [sink.process], PAYMENT_EVENTS.name, complete=complete)
    where.check(form.name, whole=True)
    return run


def _watched(
    where: Field,
    workers: Sequence[psutil.Popen],
    views: str,
    *,
    joined: Callable[[], bool] = lambda: True,
) -> Run:
    """As `_measured`, until every partition's last record is there; then stop the workers."""
    try:
        return _measured(where, workers, views, joined=joined, complete=where.is_complete)
    finally:
        end(workers)


def _measured(
    where: Field,
    workers: Sequence[psutil.Process],
    views: str,
    *,
    complete: Callable[[], bool],
    joined: Callable[[], bool] = lambda: True,
) -> Run:
    """Rate and CPU from the first rows, once all have joined, to the last."""
    wait_until(
        lambda: where.rows() > 0 and joined(), "no row came, or not all joined", seconds=RUN_SECONDS
    )
    began, already = time.monotonic(), where.events_once()
    spent, server = spent_seconds(workers), where.server_seconds()
    ended = wait_until(complete, "rows are missing", seconds=RUN_SECONDS)
    spent, server = spent_seconds(workers) - spent, where.server_seconds() - server
    share = (where.events - already) / where.events
    return Run(
        events=where.events - already,
        seconds=ended - began,
        cpu_seconds=spent,
        server_seconds=server,
        rows=round(share * sum(where.rows(view) for view in views.split(","))),
    )


def _figures(section: str, name: str, run: Run) -> list[Figure]:
    figures = [
        Figure(section=section, name=name, value=run.rate, unit="events/s"),
        Figure(
            section=section,
            name=f"CPU, {name}",
            value=1e6 * run.cpu_seconds / run.events,
            unit="µs/event",
        ),
        Figure(
            section=section,
            name=f"CPU, ClickHouse under {name}",
            value=1e6 * run.server_seconds / run.events,
            unit="µs/event",
        ),
    ]
    if run.rows != run.events:
        figures.append(
            Figure(section=section, name=name, value=run.rows / run.seconds, unit="rows/s")
        )
    return figures


def _ratios(section: str, runs: Mapping[str, Run]) -> list[Figure]:
    """Purser's ratios to the peers: as shipped, and with the collector tuned."""
    figures = []
    for ours, goals in GOALS.items():
        for peer, least in goals:
            for baseline in (peer, peer + _TUNED):
                if baseline not in runs:
                    continue
                ratio = runs[ours].rate / runs[baseline].rate
                goal, met = at_least(least, ratio)
                figures.append(
                    Figure(
                        section=section,
                        name=ours,
                        value=runs[ours].rate,
                        unit="events/s",
                        baseline=baseline,
                        ratio=ratio,
                        goal=f"ratio {goal}",
                        met=met,
                    )
                )
    return figures

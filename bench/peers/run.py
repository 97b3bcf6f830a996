"""The section `peers`: one topic, one table, one process each, totals checked, ratios to goals.

The clock of a run starts with its first record and stops when its last row is confirmed, so
start-up is not included. With several live workers it starts when each has its partitions. The
servers share the cores with the measured process, so CPU per event is reported too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import mkdtemp
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
from clickhouse_connect.driver.client import Client

from bench.figures import Figure, at_least
from bench.peers.topic import fill
from bench.sections import Bench, worker_stopped
from bench.servers import cpu_seconds, wait_until
from bench.workers import has_partitions
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.views import PAYMENT_EVENTS, RAW_SUFFIX
from sinks.client import connect
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.ports import lend_port
from stack.settings import CHECKOUT
from streams.fold import FOLDED_TABLES

PEERS_PYTHON = CHECKOUT / ".venv-peers" / "bin" / "python"
RUN_SECONDS = 240.0
STOP_SECONDS = 20.0
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
        ("quix streams", 2.0),
        ("pathway", 3.0),
        ("faust, stock", 10.0),
    ),
    "replay": (
        ("by hand, confluent consume()", 0.9),
        ("bytewax, source of batches", 1.0),
        ("bytewax, stock", 1.0),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of one or several processes; `server_seconds` is ClickHouse's CPU meanwhile."""

    events: int
    seconds: float
    cpu_seconds: float
    server_seconds: float
    rows: int

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A topic that is filled once, and a database that is emptied before each run."""

    client: Client
    stack: Stack
    topic: str
    events: int
    amount_minor: int
    last_offsets: Mapping[int, int]
    environment: Mapping[str, str] = field(repr=False)

    def empty(self) -> None:
        """Delete all rows."""
        for table in FOLDED_TABLES:
            self.client.command(f"TRUNCATE TABLE {table.raw}")

    def rows(self, view: str = PAYMENT_EVENTS.name) -> int:
        """Rows of a view's raw table, including duplicates."""
        return int(self.client.query(f"SELECT count() FROM {view}{RAW_SUFFIX}").result_rows[0][0])

    def events_once(self) -> int:
        """Distinct events: when a worker joins, others may read a few records again."""
        query = f"SELECT count() FROM {PAYMENT_EVENTS.raw} FINAL"
        return int(self.client.query(query).result_rows[0][0])

    def is_complete(self) -> bool:
        """Whether every partition's last record is there. Polled often, so it must be cheap."""
        query = f"SELECT kafka_partition, max(kafka_offset) FROM {PAYMENT_EVENTS.raw} GROUP BY 1"
        return dict(self.client.query(query).result_rows) == self.last_offsets

    def server_seconds(self) -> float:
        """CPU seconds of ClickHouse so far."""
        return cpu_seconds(self.stack)["clickhouse"]

    def check(self, name: str, *, whole: bool) -> None:
        """Raise ServiceUnavailable unless all events arrived, with the sum of their amounts."""
        if not whole:
            return
        found = self.client.query(
            "SELECT uniqExact(payment_id, seq), sum(toInt128(amount_minor))"
            f" FROM {PAYMENT_EVENTS.raw} FINAL"
        ).result_rows[0]
        if found != (self.events, self.amount_minor):
            raise ServiceUnavailable(
                f"{name}: ended with {found}, not {(self.events, self.amount_minor)};"
                " its rate is invalid"
            )


def peers(bench: Bench) -> list[Figure]:
    """The rate of every peer, and Purser's ratio to it."""
    if not PEERS_PYTHON.exists():
        raise ConfigurationError("the peers are not installed; run `make peers`")
    section = "peers, payment_events only"
    with worker_stopped(bench), _prepared(bench) as where:
        runs = {name: _peer(where, name, module) for name, module in PEERS.items()}
        runs["live worker"] = _live(where, "live worker", PAYMENT_EVENTS.name)
        runs["replay"] = _peer(where, "replay", "bench.peers.replay", python=sys.executable)
        figures = [figure for name, run in runs.items() for figure in _figures(section, name, run)]
        figures += _ratios(section, runs)
        return (
            figures
            + _scaling("live worker, all views", where, _live)
            + _scaling("replay, all views", where, _replay)
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


@contextmanager
def _prepared(bench: Bench) -> Iterator[Field]:
    """A separate topic and database, so that no other section sees them."""
    endpoints = bench.stack.endpoints
    topic, database = f"bench.peers-{uuid4()}", "purser_bench_peers"
    address = urlsplit(endpoints.clickhouse_url)
    url = address._replace(path=f"/{database}").geturl()
    with connect(ClickHouseSettings.load(endpoints.clickhouse_url)) as admin:
        admin.command(f"DROP DATABASE IF EXISTS {database}")
        admin.command(f"CREATE DATABASE {database}")
        migrate(url)
        filled = fill(endpoints.kafka_bootstrap, topic, bench.events, bench.seed)
        with connect(ClickHouseSettings.load(url)) as client:
            yield Field(
                client=client,
                stack=bench.stack,
                topic=topic,
                events=bench.events,
                amount_minor=filled.amount_minor,
                last_offsets=filled.last_offsets,
                environment={
                    **os.environ,
                    **endpoints.environment(),
                    "PURSER_CLICKHOUSE_URL": url,
                    "PURSER_PAYMENTS_TOPIC": topic,
                    "PYTHONPATH": str(CHECKOUT),
                },
            )
        admin.command(f"DROP DATABASE {database}")


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
        _started(
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
        _started(
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


def _started(where: Field, command: list[str], group: str, **extra: str) -> psutil.Popen:
    return psutil.Popen(
        command,
        env={
            **where.environment,
            **extra,
            "PURSER_CONSUMER_GROUP": group,
            "PURSER_HOME": mkdtemp(prefix="purser-bench-"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _watched(
    where: Field,
    workers: list[psutil.Popen],
    views: str,
    *,
    joined: Callable[[], bool] = lambda: True,
) -> Run:
    """Rate and CPU from the first rows, once all have joined, to the last; then stop them."""

    def spent_seconds() -> float:
        return sum(sum(worker.cpu_times()[:2]) for worker in workers)

    try:
        wait_until(
            lambda: where.rows() > 0 and joined(),
            "no row came, or not all joined",
            seconds=RUN_SECONDS,
        )
        started, already = time.monotonic(), where.events_once()
        spent, server = spent_seconds(), where.server_seconds()
        ended = wait_until(where.is_complete, "rows are missing", seconds=RUN_SECONDS)
        spent, server = spent_seconds() - spent, where.server_seconds() - server
    finally:
        for worker in workers:
            worker.terminate()
        _, alive = psutil.wait_procs(workers, timeout=STOP_SECONDS)
        for left in alive:
            left.kill()
    share = (where.events - already) / where.events
    return Run(
        events=where.events - already,
        seconds=ended - started,
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

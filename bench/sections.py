"""The sections, one function each. Every function leaves the stack as it found it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import psycopg
from clickhouse_connect.driver.client import Client

from bench.figures import Figure, at_least
from bench.orders import EVENTS_PER_PAYMENT, write_history
from bench.servers import TopicEnd, cpu_seconds, set_connector, spent_between, wait_until
from schemas.errors import ServiceUnavailable
from schemas.topics import PAYMENTS_TOPIC
from schemas.views import PAYMENT_EVENTS, RAW_SUFFIX
from stack.native import Stack

VIEWS = (
    "payment_events",
    "ledger_entries",
    "buyer_orders",
    "seller_revenue",
    "payouts",
    "pipeline_progress",
)
WORKER = "views-worker"
SUBPROCESS_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every section needs.

    `events` are those of a throughput run, `payments` of queries, `day_payments` of a day.
    """

    stack: Stack
    clickhouse: Client
    topic: TopicEnd
    folder: Path
    events: int
    rate: float
    seconds: float
    seed: int
    payments: int
    day_payments: int


def run_module(
    bench: Bench, module: str, *arguments: str, heard: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
    """Run `python -m module` against the stack; return its last line of output, as JSON.

    `heard` is called with each line as it arrives.

    Raises:
        ServiceUnavailable: it failed; the message ends with its standard error.
    """
    last = "{}"
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **bench.stack.endpoints.environment()},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as running,
    ):
        # A timer, because a hanging process prints no line to wake the loop.
        timer = Timer(SUBPROCESS_SECONDS, running.kill)
        timer.start()
        assert running.stdout is not None
        try:
            for line in running.stdout:
                heard(line)
                last = line
        except BaseException:
            running.kill()  # whoever is interrupted leaves no load running
            raise
        finally:
            timer.cancel()
        if running.wait():
            errors.seek(0)
            raise ServiceUnavailable(f"{module} failed: {errors.read()[-2000:]}")
    result: dict[str, float] = json.loads(last)
    return result


def warm_up(bench: Bench, events: int, seed: int) -> None:
    """Send some events through at full speed, because a warm JVM is twice as fast."""
    rows = count_rows(bench)
    import_rate(bench, seed, events)
    wait_until(lambda: count_rows(bench) >= rows + events, "the views did not follow")


def import_rate(bench: Bench, seed: int, events: int) -> list[Figure]:
    """`purser import` of a plain history with Debezium paused: only the writer and PostgreSQL."""
    file = bench.folder / f"history-{seed}.jsonl"
    write_history(file, events // EVENTS_PER_PAYMENT, seed)
    before = cpu_seconds(bench.stack)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "import", str(file)],
        env={**os.environ, **bench.stack.endpoints.environment()},
        capture_output=True,
        text=True,
        timeout=SUBPROCESS_SECONDS,
        check=False,
    )
    seconds = time.monotonic() - started
    file.unlink()
    if done.returncode:
        raise ServiceUnavailable(f"purser import failed: {done.stderr[-2000:]}")
    spent = spent_between(before, cpu_seconds(bench.stack))
    goal, met = at_least(5_000, events / seconds)
    return [
        Figure(
            section="import",
            name="purser import, start to end",
            value=events / seconds,
            unit="events/s",
            goal=goal,
            met=met,
        ),
        *cpu_figures("import", {"postgres": spent["postgres"]}, events),
    ]


def count_rows(bench: Bench) -> int:
    """Rows of payment_events in ClickHouse."""
    count: int = bench.clickhouse.query(f"SELECT count() FROM {PAYMENT_EVENTS.raw}").result_rows[0][
        0
    ]
    return count


@contextmanager
def worker_stopped(bench: Bench) -> Iterator[None]:
    """Keep the views worker stopped inside the `with`."""
    bench.stack.stop(WORKER)
    try:
        yield
    finally:
        bench.stack.start(WORKER)
        bench.stack.wait_ready(WORKER)


def debezium_alone(bench: Bench) -> tuple[float, dict[str, float]]:
    """Events/s from PostgreSQL's log to Kafka without a worker; the log is already written."""
    before_offsets, before = bench.topic.offsets(), cpu_seconds(bench.stack)
    set_connector(bench.stack.endpoints.connect_url, "resume")
    started = wait_until(lambda: bench.topic.offsets() > before_offsets, "Debezium sent nothing")
    ended = wait_until(
        lambda: bench.topic.offsets() >= before_offsets + bench.events,
        "Debezium did not send everything",
    )
    spent = spent_between(before, cpu_seconds(bench.stack))
    return bench.events / (ended - started), spent


def catch_up(bench: Bench, wanted: int) -> float:
    """Events/s from Kafka to ClickHouse, for a worker that starts with the whole backlog."""
    missing = wanted - count_rows(bench)
    bench.stack.start(WORKER)
    first = count_rows(bench)
    started = wait_until(lambda: count_rows(bench) > first, "the worker wrote nothing")
    already = count_rows(bench) - first
    ended = wait_until(lambda: count_rows(bench) >= wanted, "the worker did not catch up")
    return (missing - already) / (ended - started)


def throughput(bench: Bench) -> list[Figure]:
    """PostgreSQL's log to ClickHouse, compared with Debezium alone and with a worker alone.

    Both runs read a log that is already written, so they do not include the import.
    """
    url = bench.stack.endpoints.connect_url
    section = "throughput, all views"
    warm_up(bench, bench.events, bench.seed + 3)
    set_connector(url, "pause")
    figures = import_rate(bench, bench.seed + 1, bench.events)
    wanted = count_rows(bench) + bench.events
    bench.stack.stop(WORKER)
    alone, _ = debezium_alone(bench)
    worker = catch_up(bench, wanted)
    bench.stack.wait_ready(WORKER)
    set_connector(url, "pause")
    import_rate(bench, bench.seed + 2, bench.events)
    before_offsets, before_rows = bench.topic.offsets(), count_rows(bench)
    before = cpu_seconds(bench.stack)
    set_connector(url, "resume")
    started = wait_until(lambda: bench.topic.offsets() > before_offsets, "Debezium sent nothing")
    ended = wait_until(
        lambda: count_rows(bench) >= before_rows + bench.events, "the views did not follow"
    )
    spent = spent_between(before, cpu_seconds(bench.stack))
    whole = bench.events / (ended - started)
    goal, met = at_least(0.9, whole / alone)
    return [
        *figures,
        Figure(section=section, name="Debezium alone, to Kafka", value=alone, unit="events/s"),
        Figure(
            section=section,
            name="worker alone, Kafka to ClickHouse",
            value=worker,
            unit="events/s",
            baseline="Debezium alone",
            ratio=worker / alone,
        ),
        Figure(
            section=section,
            name="PostgreSQL to ClickHouse",
            value=whole,
            unit="events/s",
            baseline="Debezium alone",
            ratio=whole / alone,
            goal=f"ratio {goal}",
            met=met,
        ),
        *cpu_figures(section, spent, bench.events),
    ]


def transport(bench: Bench) -> list[Figure]:
    """The same records, read by one process with the batch transport and with stock Faust agents.

    Once alone, and once with decoding and folding into rows of all views, which costs both the
    same.
    """
    with worker_stopped(bench):
        return [
            *_batch_against_stock(bench, "transport alone", [], goal_ratio=10),
            *_batch_against_stock(bench, "transport, decode and fold", ["--fold"]),
        ]


def _batch_against_stock(
    bench: Bench, section: str, flags: list[str], goal_ratio: float | None = None
) -> list[Figure]:
    # A tenth is enough for stock Faust, and keeps the run short.
    runs = {
        name: run_module(
            bench, "bench.consume", "--transport", name, "--events", str(events), *flags
        )
        for name, events in (("stock", bench.events // 10), ("batch", bench.events))
    }
    rates = {name: run["events"] / run["seconds"] for name, run in runs.items()}
    ratio = rates["batch"] / rates["stock"]
    goal, met = ("", None) if goal_ratio is None else at_least(goal_ratio, ratio)
    return [
        Figure(section=section, name="stock Faust agents", value=rates["stock"], unit="events/s"),
        Figure(
            section=section,
            name="batch transport",
            value=rates["batch"],
            unit="events/s",
            baseline="stock Faust",
            ratio=ratio,
            goal=f"ratio {goal}" if goal else "",
            met=met,
        ),
        *(
            Figure(
                section=section,
                name=f"CPU, {name}",
                value=1e6 * run["cpu_seconds"] / run["events"],
                unit="µs/event",
            )
            for name, run in runs.items()
        ),
    ]


def storage(bench: Bench) -> list[Figure]:
    """Bytes per event at rest, in PostgreSQL, Kafka and ClickHouse."""
    with psycopg.connect(bench.stack.endpoints.postgres_reader_dsn) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(inhrelid))::bigint, "
            " (SELECT count(*) FROM payments) "
            "FROM pg_inherits WHERE inhparent = 'payments'::regclass"
        ).fetchone()
    assert row is not None
    postgres_bytes, events = row
    logs = bench.stack.home.path / "kafka" / "data"
    # Without the indexes: Kafka allocates the index of an open segment as a sparse file.
    kafka_bytes = sum(file.stat().st_size for file in logs.glob(f"{PAYMENTS_TOPIC}-*/*.log"))
    sizes = {"PostgreSQL payments with indexes": postgres_bytes, "Kafka topic": kafka_bytes}
    for view in VIEWS:
        bench.clickhouse.command(f"OPTIMIZE TABLE {view}{RAW_SUFFIX} FINAL")
        size = bench.clickhouse.query(
            "SELECT sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND database = currentDatabase() AND table = {table:String}",
            parameters={"table": f"{view}{RAW_SUFFIX}"},
        ).result_rows[0][0]
        sizes[f"ClickHouse {view}"] = size
    total = sum(size for name, size in sizes.items() if name.startswith("ClickHouse"))
    sizes["ClickHouse, all views"] = total
    return [
        Figure(section="storage", name=name, value=size / events, unit="bytes/event")
        for name, size in sizes.items()
    ]


def cpu_figures(section: str, spent: dict[str, float], events: float) -> list[Figure]:
    return [
        Figure(
            section=section,
            name=f"CPU, {name}",
            value=1e6 * seconds / events,
            unit="µs/event",
        )
        for name, seconds in spent.items()
    ]

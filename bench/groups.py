"""A section: concurrent commands appended in groups, compared with one by one.

Rates are measured with Debezium paused, so that they are those of the writer and PostgreSQL. What
groups save behind PostgreSQL shows in live traffic at a fixed rate.
"""

from dataclasses import dataclass

import psycopg

from bench.callers import GROUPS, MODES, ONE_BY_ONE
from bench.figures import Figure, at_least, at_most
from bench.load import MEASURING
from bench.sections import Bench, count_rows, run_module
from bench.servers import cpu_seconds, set_connector, spent_between, wait_until

CALLERS = 50
EVENTS_PER_SECOND_GOAL = 3_000
LONE_RATIO_GOAL = 1.05
LONE_ROUNDS = 3
LONE_PAYMENTS = 200
PAYMENTS = 1_000
LIVE_PAYMENTS_PER_SECOND = 85.0
"""About 600 events/s: what two cores carry to the views without falling behind."""
LIVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one run saw, and the CPU seconds of each server meanwhile."""

    seen: dict[str, float]
    spent: dict[str, float]

    @property
    def events_per_second(self) -> float:
        return self.seen["events"] / self.seen["seconds"]

    def cpu(self, process: str) -> float:
        """CPU microseconds per event."""
        return 1e6 * self.spent[process] / self.seen["events"]


def groups(bench: Bench) -> list[Figure]:
    """Rates and latencies of one and of many callers, then the CPU time of live traffic."""
    url = bench.stack.endpoints.connect_url
    set_connector(url, "pause")
    try:
        lone = {mode: _lone(bench, mode, number) for number, mode in enumerate(MODES)}
        many = {mode: _measure(bench, mode, seed=100 + number, callers=CALLERS, payments=PAYMENTS)
                for number, mode in enumerate(MODES)}  # fmt: skip
    finally:
        set_connector(url, "resume")
    _wait_for_views(bench)
    live = {mode: _live(bench, mode, seed=200 + number)
            for number, mode in enumerate((ONE_BY_ONE, GROUPS))}  # fmt: skip
    return [*_lone_figures(lone), *_rates(many), *_live_figures(live)]


def _measure(bench: Bench, mode: str, *, seed: int, **options: float) -> _Run:
    before: dict[str, float] = {}

    def heard(line: str) -> None:
        if line.strip() == MEASURING:
            before.update(cpu_seconds(bench.stack))

    arguments = [text for name, value in options.items() for text in (f"--{name}", f"{value:g}")]
    seed_text = str(1_000 * bench.seed + seed)
    seen = run_module(
        bench, "bench.callers", "--mode", mode, "--seed", seed_text, *arguments, heard=heard
    )
    return _Run(seen=seen, spent=spent_between(before, cpu_seconds(bench.stack)))


def _lone(bench: Bench, mode: str, number: int) -> float:
    """The least of several medians, in ms: what else the machine does only adds to them."""
    return min(
        1000 * _measure(bench, mode, seed=10 * number + turn, callers=1, payments=LONE_PAYMENTS)
        .seen["append_p50"]
        for turn in range(LONE_ROUNDS)
    )  # fmt: skip


def _live(bench: Bench, mode: str, *, seed: int) -> _Run:
    """The same load through the whole pipeline, until its last row is visible."""
    before = cpu_seconds(bench.stack)
    run = _measure(
        bench,
        mode,
        seed=seed,
        callers=CALLERS,
        payments=LIVE_PAYMENTS_PER_SECOND * LIVE_SECONDS,
        rate=LIVE_PAYMENTS_PER_SECOND,
    )
    _wait_for_views(bench)
    return _Run(seen=run.seen, spent=spent_between(before, cpu_seconds(bench.stack)))


def _wait_for_views(bench: Bench) -> None:
    """Until every event of PostgreSQL is in ClickHouse."""
    with psycopg.connect(bench.stack.endpoints.postgres_reader_dsn) as connection:
        row = connection.execute("SELECT count(*) FROM payments").fetchone()
    assert row is not None
    wait_until(lambda: count_rows(bench) >= row[0], "the views did not follow")


def _lone_figures(lone: dict[str, float]) -> list[Figure]:
    figures = []
    for mode, milliseconds in lone.items():
        ratio = milliseconds / lone[ONE_BY_ONE]
        goal, met = at_most(LONE_RATIO_GOAL, ratio) if mode == GROUPS else ("", None)
        figures.append(
            Figure(
                section="append, one caller",
                name=f"p50, {mode}",
                value=milliseconds,
                unit="ms",
                baseline=ONE_BY_ONE,
                ratio=ratio,
                goal=f"ratio {goal}" if goal else "",
                met=met,
            )
        )
    return figures


def _rates(many: dict[str, _Run]) -> list[Figure]:
    section = f"append, {CALLERS} callers"
    base = many[ONE_BY_ONE]
    figures = []
    for mode, run in many.items():
        goal, met = at_least(EVENTS_PER_SECOND_GOAL, run.events_per_second)
        is_grouped = mode != ONE_BY_ONE
        figures.append(
            Figure(
                section=section,
                name=mode,
                value=run.events_per_second,
                unit="events/s",
                baseline=ONE_BY_ONE,
                ratio=run.events_per_second / base.events_per_second,
                goal=goal if is_grouped else "",
                met=met if is_grouped else None,
            )
        )
    for mode, run in many.items():
        figures += [
            Figure(section=section, name=f"{name}, {mode}", value=value, unit=unit,
                   baseline=ONE_BY_ONE, ratio=value / of_base)
            for name, unit, value, of_base in (
                ("p50", "ms", 1000 * run.seen["append_p50"], 1000 * base.seen["append_p50"]),
                ("p99", "ms", 1000 * run.seen["append_p99"], 1000 * base.seen["append_p99"]),
                ("CPU of PostgreSQL", "µs/event", run.cpu("postgres"), base.cpu("postgres")),
                ("CPU of the callers", "µs/event", _of_callers(run), _of_callers(base)),
            )
        ]  # fmt: skip
    return figures


def _of_callers(run: _Run) -> float:
    return 1e6 * run.seen["cpu_seconds"] / run.seen["events"]


def _live_figures(live: dict[str, _Run]) -> list[Figure]:
    section = f"append, {LIVE_PAYMENTS_PER_SECOND:g} payments/s live, to the views"
    base = live[ONE_BY_ONE]
    found = []
    for mode, run in live.items():
        found.append(
            Figure(section=section, name=mode, value=run.events_per_second, unit="events/s")
        )
        found += [
            Figure(
                section=section,
                name=f"CPU of {process}, {mode}",
                value=run.cpu(process),
                unit="µs/event",
                baseline=ONE_BY_ONE,
                ratio=run.cpu(process) / base.cpu(process),
            )
            for process in ("postgres", "connect", "kafka", "views-worker", "clickhouse")
        ]
    return found

"""Does a full day cost more than an empty one? Latency, CPU, answers and verify with both.

First the load of `purser bench latency` runs on a day on which little has happened, then on one
with a million payments (`--day-payments`). An analyst asks for totals meanwhile. At the end `purser
verify` of the day is timed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from threading import Event

from prometheus_client.parser import text_string_to_metric_families

from bench.day_load import SELLERS, Day, DayLoad, begun_day
from bench.day_questions import Ask, Questioner, figures_of, questions_of
from bench.day_verify import verify_of_the_day
from bench.figures import Figure, at_most
from bench.latency import latency_at
from bench.sections import WORKER, Bench
from bench.servers import cpu_seconds, spent_between, wait_quiet
from operations.console import say
from schemas.errors import ServiceUnavailable
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.local_http import local_get
from stack.settings import HOST
from stack.topology import VIEWS_WORKERS

ANSWER_SECONDS = 10.0
RATIO_GOAL = 1.2
P99 = "commit to visible p99"
CPU = "CPU, all processes"
CPU_OF_QUESTIONS = "CPU, questions (estimate)"
CPU_WITHOUT = "CPU, without questions (estimate)"
APPENDED = "events appended"
QUIET_ROUNDS = 3
THE_LOAD = "CPU, the load itself"
STEP_METRIC = "purser_views_step_seconds"
LATE_SECONDS = 3_600.0
"""With less than this left of the day, the measurement may end on another day."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """How often a step of the views workers ran, and for how many seconds in all."""

    runs: float = 0.0
    seconds: float = 0.0


def day(bench: Bench) -> list[Figure]:
    """Measure on an empty day, load it, measure again, and verify it."""
    today = begun_day()
    _warn_if_late(today)
    payments = bench.day_payments
    empty = _measure(bench, "day, empty", today.date)
    say(f"loading {payments:,} payments; a million takes some minutes")
    loaded = Day.until(datetime.now(UTC))
    if loaded.date != today.date:
        raise ServiceUnavailable("the day ended during the measurement; run it again")
    DayLoad(endpoints=bench.stack.endpoints, topic=bench.topic, say=say).load(
        loaded, payments, bench.seed
    )
    full = _measure(bench, f"day, {payments:,} payments", today.date)
    return [
        *empty,
        *full,
        *compared(empty, full),
        *verify_of_the_day(bench.stack, today.date, bench.seed),
    ]


def _warn_if_late(today: Day) -> None:
    left = 86_400 - today.microseconds / 1e6
    if left < LATE_SECONDS:
        say(f"the UTC day ends in {left / 60:.0f} minutes, perhaps before the measurement does")


def _measure(bench: Bench, section: str, today: date) -> list[Figure]:
    """The load, the worker's steps, its lag at the end, and an analyst's questions meanwhile."""
    say(section)
    measuring = Event()
    lags: list[int] = []
    before: dict[str, StepTime] = {}
    cpu_before: dict[str, float] = {}

    def begin() -> None:
        before.update(step_times(bench))
        cpu_before.update(cpu_seconds(bench.stack))
        measuring.set()

    questioner = Questioner(
        url=bench.stack.endpoints.clickhouse_reader_url,
        questions=questions_of(today),
        each_round=lambda: lags.append(_lag_records(bench)),
    )
    with questioner.asking(measuring):
        figures = latency_at(bench, section, bench.rate, sellers=SELLERS, begin=begin)
        lag = _lag_records(bench)
    wait_quiet(bench.stack, WORKER)
    after, cpu_after = step_times(bench), cpu_seconds(bench.stack)
    rounds = len(lags)
    events = bench.seconds * next(f.value for f in figures if f.name == APPENDED)
    figures = with_all_cpu(figures, section, spent_between(cpu_before, cpu_after), events)
    asked = 1e6 * rounds * _seconds_of_a_round(bench, questioner.questions) / events
    spent = cpu_of(figures)
    return [
        *figures,
        Figure(section=section, name=CPU, value=spent, unit="µs/event"),
        Figure(section=section, name=CPU_OF_QUESTIONS, value=asked, unit="µs/event"),
        Figure(section=section, name=CPU_WITHOUT, value=spent - asked, unit="µs/event"),
        *steps_between(section, before, after),
        Figure(section=section, name="records behind, at the end", value=lag, unit="records"),
        Figure(
            section=section,
            name="records behind, at most",
            value=max([lag, *lags]),
            unit="records",
        ),
        Figure(section=section, name="the analyst's questions", value=rounds, unit="rounds"),
        *figures_of(section, questioner.milliseconds),
    ]


def _seconds_of_a_round(bench: Bench, questions: Mapping[str, Ask]) -> float:
    """ClickHouse's CPU seconds for each question once, while nothing else happens."""
    questioner = Questioner(url=bench.stack.endpoints.clickhouse_reader_url, questions=questions)
    with closing(connect(ClickHouseSettings.load(questioner.url))) as client:
        before = cpu_seconds(bench.stack)
        for _ in range(QUIET_ROUNDS):
            questioner.ask_all(client)
    return spent_between(before, cpu_seconds(bench.stack))["clickhouse"] / QUIET_ROUNDS


def _lag_records(bench: Bench) -> int:
    """Records that the views workers have not done, as they last counted them."""
    reports = bench.stack.worker_reports()
    return sum(
        int(report.get("lag_records") or 0)
        for name, report in reports.items()
        if name.startswith(WORKER)
    )


def step_times(bench: Bench) -> dict[str, StepTime]:
    """Step -> its time so far, from the metrics of all views workers."""
    settings = bench.stack.settings
    pages = [
        local_get(f"http://{HOST}:{settings.port(worker.ports[0])}/metrics", ANSWER_SECONDS).text
        for worker in VIEWS_WORKERS[: settings.views_workers]
    ]
    return parsed_steps(pages)


def parsed_steps(pages: Iterable[str]) -> dict[str, StepTime]:
    """The same, from the text of each worker's metrics."""
    found: dict[str, StepTime] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                runs = sample.name == f"{STEP_METRIC}_count"
                if not runs and sample.name != f"{STEP_METRIC}_sum":
                    continue
                step = sample.labels["step"]
                so_far = found.get(step, StepTime())
                found[step] = StepTime(
                    so_far.runs + (sample.value if runs else 0.0),
                    so_far.seconds + (0.0 if runs else sample.value),
                )
    return found


def steps_between(
    section: str, before: Mapping[str, StepTime], after: Mapping[str, StepTime]
) -> list[Figure]:
    """Each step that ran: its seconds in all, and the mean of one run in milliseconds."""
    figures = []
    for step, until in after.items():
        since = before.get(step, StepTime())
        runs, seconds = until.runs - since.runs, until.seconds - since.seconds
        if runs:
            figures += [
                Figure(section=section, name=f"worker, {step}, in all", value=seconds, unit="s"),
                Figure(
                    section=section,
                    name=f"worker, {step}, mean of {runs:,.0f}",
                    value=1000 * seconds / runs,
                    unit="ms",
                ),
            ]
    return figures


def with_all_cpu(
    figures: Sequence[Figure], section: str, spent: Mapping[str, float], events: float
) -> list[Figure]:
    """The figures with this CPU time, which includes what the worker did after the load's end.

    Otherwise a worker that has fallen behind would seem to cost little.
    """
    kept = [f for f in figures if not f.name.startswith("CPU, ") or f.name == THE_LOAD]
    return [
        *kept,
        *(
            Figure(
                section=section, name=f"CPU, {name}", value=1e6 * seconds / events, unit="µs/event"
            )
            for name, seconds in spent.items()
        ),
    ]


def cpu_of(figures: Sequence[Figure]) -> float:
    """The sum of all processes but the load, in microseconds per event."""
    return sum(
        figure.value
        for figure in figures
        if figure.name.startswith("CPU, ") and figure.name != THE_LOAD
    )


def compared(empty: Sequence[Figure], full: Sequence[Figure]) -> list[Figure]:
    """The full day against the empty one: p99 and CPU have a goal, each process shows its ratio."""
    before = {figure.name: figure for figure in empty}
    figures = []
    for figure in full:
        base = before.get(figure.name)
        if base is None or not base.value:
            continue
        if figure.name != P99 and not figure.name.startswith("CPU, "):
            continue
        ratio = figure.value / base.value
        goal, met = at_most(RATIO_GOAL, ratio)
        judged = figure.name in (P99, CPU)
        figures.append(
            Figure(
                section="day, full against empty",
                name=figure.name,
                value=figure.value,
                unit=figure.unit,
                baseline=f"{base.value:,.0f} on an empty day",
                ratio=ratio,
                goal=f"ratio {goal}" if judged else "",
                met=met if judged else None,
            )
        )
    return figures

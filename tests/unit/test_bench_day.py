"""The day of the benchmark fits into what has passed of it, and its figures say what they mean."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from threading import Event
from typing import Any

import pytest
from prometheus_client import generate_latest

from bench import day_questions
from bench.day import (
    CPU,
    P99,
    THE_LOAD,
    StepTime,
    compared,
    cpu_of,
    parsed_steps,
    steps_between,
    with_all_cpu,
)
from bench.day_load import SELLER, SELLERS, Day
from bench.day_questions import Questioner, figures_of, questions_of
from bench.day_verify import Verified, parsed, peak_bytes
from bench.day_verify import figures_of as verify_figures
from bench.figures import Figure
from bench.generated import EVENTS_PER_PAYMENT
from streams.views.metrics import ViewsMetrics

TODAY = date(2026, 12, 1)
SECOND = 1_000_000


def test_a_day_begins_at_midnight_in_utc_and_ends_before_now() -> None:
    evening = timezone(timedelta(hours=-5))
    day = Day.until(datetime(2026, 11, 30, 20, 0, 10, tzinfo=evening))
    assert day.date == TODAY
    assert day.microseconds == (3_600 + 10 - 1) * SECOND


@pytest.mark.parametrize("seconds", [60, 3 * 3_600, 86_399])
@pytest.mark.parametrize("payments", [1_000, 1_000_000])
def test_everything_happens_in_order_before_the_day_has_passed(seconds: int, payments: int) -> None:
    day = Day(date=TODAY, microseconds=seconds * SECOND)
    shape = day.shape(payments)
    assert shape.first_day == TODAY
    assert shape.sellers == SELLERS
    assert not shape.placed
    assert len(shape.delays) == len(shape.jitters) == EVENTS_PER_PAYMENT
    assert shape.delays[0] == 0
    latest = [0, *(d + j for d, j in zip(shape.delays[1:], shape.jitters[1:], strict=True))]
    assert all(before <= after for before, after in zip(latest, shape.delays[1:], strict=False))
    # A payout is three steps, as far apart as the first three events of a payment.
    assert latest[-1] <= shape.payout_delay
    last_arrival = (payments - 1) * shape.gap + shape.jitters[0]
    end = last_arrival + max(latest[-1], shape.payout_delay + latest[2])
    assert 0.9 * day.microseconds < end < day.microseconds


def test_the_days_currencies_are_those_of_the_marketplace() -> None:
    currencies = Day(date=TODAY, microseconds=3_600 * SECOND).shape(1_000).currencies
    assert len(set(currencies)) == 6
    assert currencies.count("EUR") > currencies.count("USD") > currencies.count("KWD") > 0


class FakeClient:
    """Remembers what it was asked; answers nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.result_rows: list[object] = []

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> "FakeClient":
        self.asked.append((sql, parameters or {}))
        return self

    def close(self) -> None:
        pass


def test_the_questions_are_about_the_day_its_month_and_its_year() -> None:
    client = FakeClient()
    questions = questions_of(date(2026, 12, 17))
    for ask in questions.values():
        ask(client)
    of = dict(zip(questions, client.asked, strict=True))
    assert len(of) == 8
    assert all("_raw" not in sql for sql, _ in of.values())
    assert of["big seller, day"][1]["seller"] == SELLER % 0
    assert of["small seller, day"][1]["seller"] == SELLER % (SELLERS - 1)
    assert of["big seller, month"][1]["since"] == date(2026, 12, 1)
    assert of["small seller, year"][1]["since"] == date(2026, 1, 1)
    assert of["all sellers, day"][1] == {"today": date(2026, 12, 17)}


@pytest.fixture
def nobody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_questions, "connect", lambda _settings: FakeClient())


def questioner(ask: Callable[[object], object], each_round: Callable[[], None]) -> Questioner:
    return Questioner(
        url="http://reader:secret@localhost:1/purser",
        questions={"it": ask},
        each_round=each_round,
    )


@pytest.mark.usefixtures("nobody_connects")
def test_answers_count_from_the_beginning_of_measuring() -> None:
    begin, asked, told = Event(), Event(), Event()

    def ask(_client: object) -> None:
        if begin.is_set():
            asked.set()

    asking = questioner(ask, told.set)
    with asking.asking(begin):
        assert not told.is_set()
        begin.set()
        assert asked.wait(10)
    assert told.is_set()
    assert len(asking.milliseconds["it"]) == 1


@pytest.mark.usefixtures("nobody_connects")
def test_an_error_of_a_question_is_raised_at_the_end() -> None:
    def ask(_client: object) -> None:
        raise RuntimeError("no such view")

    begin = Event()
    with pytest.raises(RuntimeError, match="no such view"):  # noqa: SIM117 - the order matters
        with questioner(ask, lambda: None).asking(begin):
            begin.set()


def test_each_question_shows_its_median_and_its_worst_answer() -> None:
    figures = figures_of("day", {"it": [3.0, 9.0, 1.0]})
    assert [(each.name, each.value, each.unit) for each in figures] == [
        ("it, median", 3.0, "ms"),
        ("it, worst", 9.0, "ms"),
    ]


def page(**seconds: float) -> str:
    metrics = ViewsMetrics()
    for step, took in seconds.items():
        metrics.step_seconds.labels(step=step).observe(took)
    return generate_latest(metrics.registry).decode()


def test_the_steps_of_all_workers_are_added_up() -> None:
    found = parsed_steps([page(write=0.5, settle=2.0), page(write=0.25)])
    assert found == {"write": StepTime(2, 0.75), "settle": StepTime(1, 2.0)}


def test_a_steps_time_is_that_of_the_measurement_alone() -> None:
    before = {"write": StepTime(10, 1.0), "fold": StepTime(4, 1.0)}
    after = {"write": StepTime(14, 3.0), "fold": StepTime(4, 1.0), "settle": StepTime(2, 1.0)}
    figures = {each.name: each.value for each in steps_between("day", before, after)}
    assert figures == {
        "worker, write, in all": 2.0,
        "worker, write, mean of 4": 500.0,
        "worker, settle, in all": 1.0,
        "worker, settle, mean of 2": 500.0,
    }


def of_day(p99: float, postgres: float) -> list[Figure]:
    figures = [
        Figure(section="day", name=P99, value=p99, unit="ms"),
        Figure(section="day", name="append p99", value=p99, unit="ms"),
        Figure(section="day", name="CPU, postgres", value=postgres, unit="µs/event"),
        Figure(section="day", name="CPU, kafka", value=10.0, unit="µs/event"),
        Figure(section="day", name=THE_LOAD, value=1_000.0, unit="µs/event"),
    ]
    return [*figures, Figure(section="day", name=CPU, value=cpu_of(figures), unit="µs/event")]


def test_the_cpu_is_counted_until_the_worker_has_done_everything() -> None:
    figures = with_all_cpu(of_day(100, 20), "day", {"postgres": 0.5, "kafka": 0.25}, 10_000)
    values = {each.name: each.value for each in figures}
    assert values["CPU, postgres"] == 50
    assert values["CPU, kafka"] == 25
    assert values[THE_LOAD] == 1_000
    assert values[P99] == 100
    assert cpu_of(figures) == 75


def test_the_load_is_not_part_of_the_cpu_of_all_processes() -> None:
    assert of_day(100, 20)[-1].value == 30


@pytest.mark.parametrize(
    ("p99", "postgres", "p99_met", "cpu_met"),
    [(120.0, 26.0, True, True), (121.0, 26.0, False, True), (100.0, 27.0, True, False)],
)
def test_a_full_day_may_cost_a_fifth_more_than_an_empty_one(
    p99: float, postgres: float, p99_met: bool, cpu_met: bool
) -> None:
    figures = {each.name: each for each in compared(of_day(100, 20), of_day(p99, postgres))}
    assert figures[P99].met is p99_met
    assert figures[CPU].met is cpu_met
    assert figures[P99].ratio == p99 / 100
    assert figures["CPU, postgres"].met is None
    assert "append p99" not in figures


@pytest.mark.parametrize(
    ("seconds", "verdict", "met"),
    [(180.0, "equal", [True, True]), (181.0, "undecided", [False, False])],
)
def test_verify_must_be_quick_and_say_equal(seconds: float, verdict: str, met: list[bool]) -> None:
    report = {
        "verdict": verdict,
        "events": {"postgres": 7},
        "checks": [{"name": "payouts", "seconds": 0.5}],
    }
    figures = verify_figures(
        Verified(seconds=seconds, report=report, own_megabytes=1.0, clickhouse_megabytes=2.0)
    )
    assert [each.met for each in figures if each.goal] == met
    assert {each.name: each.value for each in figures}["check payouts"] == 0.5


def test_a_verify_that_printed_nothing_is_a_goal_missed_and_no_error() -> None:
    verified = Verified(
        seconds=1_800.0, report=parsed(""), own_megabytes=1.0, clickhouse_megabytes=2.0
    )
    assert [each.met for each in verify_figures(verified) if each.goal] == [False, False]


def test_the_peak_of_a_process_is_known_while_it_lives() -> None:
    assert peak_bytes(os.getpid()) > 1_000_000
    assert peak_bytes(2**22 + 1) == 0


def test_the_passed_part_of_a_day_is_never_in_the_future() -> None:
    now = datetime(2026, 12, 1, 0, 2, tzinfo=UTC)
    day = Day.until(now)
    end = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(microseconds=day.microseconds)
    assert end < now

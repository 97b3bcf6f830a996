"""What a long chaos round plans, imports, compares and tells; the kills themselves need servers."""

import json
from uuid import UUID

import pytest

from bench.survival import Acknowledged, Presence, compare
from operations.verify import Report, Verdict
from schemas.lifecycle import EventType
from tests.chaos.imports import LINES_PER_IMPORT, PSP, new_history
from tests.chaos.outcome import EARLY, Killed, Outcome, Row, left
from tests.chaos.plan import CHOICES, PAUSE_SECONDS, Kill, plan, targets
from tests.events import pay_in
from writer.importing.history import decide_line

FIRST, SECOND = UUID(int=1), UUID(int=2)


def killed(target: str, visible: float | None, *, early: bool = False) -> Killed:
    return Killed(
        kill=Kill(target=target, pause_seconds=1.0, early=early),
        ready_seconds=2.0,
        visible_seconds=visible,
        importing=visible is None,
    )


def test_a_seed_decides_every_target_and_every_pause() -> None:
    assert plan(targets(1_000, 7), 7) == plan(targets(1_000, 7), 7)
    assert plan(targets(1_000, 7), 7) != plan(targets(1_000, 8), 8)


@pytest.mark.parametrize("kills", [1, 5, 6, 7, 1_000])
def test_a_round_has_its_kills_and_each_target_once_if_there_is_room(kills: int) -> None:
    chosen = targets(kills, 7)
    assert len(chosen) == kills
    assert len(set(chosen)) == min(kills, len(CHOICES))


def test_some_kills_are_early_but_never_the_first() -> None:
    for seed in range(20):
        kills = plan(targets(200, seed), seed)
        assert not kills[0].early
        assert 0 < sum(kill.early for kill in kills) < 100
        assert all(PAUSE_SECONDS[0] <= kill.pause_seconds <= PAUSE_SECONDS[1] for kill in kills)


def test_each_import_is_new_history_and_a_seed_repeats_it() -> None:
    keys: list[str] = []
    orders: list[str] = []
    for number in range(2):
        lines = new_history(7, number)
        assert lines == new_history(7, number)
        for payment in map(json.loads, lines):
            keys.append(payment["idempotency_key"])
            orders += [order["order_id"] for order in payment["orders"]]
        assert all(decide_line(line, psp=PSP) for line in lines), "they break no rule"
    assert len(set(keys)) == len(keys) == 2 * LINES_PER_IMPORT
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize(
    ("acknowledged", "found", "expected"),
    [
        ({1: 3, 2: 2}, [(FIRST, 3, 3), (SECOND, 2, 2)], Presence(events=5, lost=0)),
        ({1: 3}, [(FIRST, 4, 4), (SECOND, 1, 1)], Presence(events=5, lost=0)),
        ({1: 3}, [(FIRST, 2, 2)], Presence(events=2, lost=1)),
        ({1: 3}, [(FIRST, 2, 3)], Presence(events=2, lost=1)),
        ({1: 3}, [(FIRST, 3, 4)], Presence(events=3, lost=1)),
        ({1: 3, 2: 2}, [(SECOND, 2, 2)], Presence(events=2, lost=3)),
        ({}, [], Presence(events=0, lost=0)),
    ],
    ids=["all", "more than acknowledged", "the last", "in the middle", "hidden", "payment", "none"],
)
def test_what_was_acknowledged_and_is_not_there_is_lost(
    acknowledged: dict[int, int], found: list[tuple[UUID, int, int]], expected: Presence
) -> None:
    assert compare(acknowledged, found) == expected


def test_an_event_acknowledged_twice_counts_once() -> None:
    acknowledged = Acknowledged()
    acknowledged.add([pay_in(EventType.CREATED), pay_in(EventType.AUTHORIZED, seq=2)])
    acknowledged.add([pay_in(EventType.CREATED)])
    acknowledged.add([pay_in(EventType.CREATED, payment_id=SECOND)])
    assert len(acknowledged) == 3


def test_the_table_has_a_row_per_target_and_one_for_early_kills() -> None:
    outcome = Outcome(seed=7, rate=10.0, planned=20)
    outcome.killed = [killed("kafka", float(seconds)) for seconds in range(1, 11)]
    outcome.killed += [killed("connect", None), killed("kafka", 90.0, early=True)]
    assert outcome.rows() == [
        Row(
            target="connect",
            kills=1,
            importing=1,
            ready_p50=2.0,
            visible_p50=None,
            visible_p90=None,
            visible_max=None,
        ),
        Row(
            target="kafka",
            kills=10,
            importing=0,
            ready_p50=2.0,
            visible_p50=6.0,
            visible_p90=10.0,
            visible_max=10.0,
        ),
        Row(
            target=EARLY,
            kills=1,
            importing=0,
            ready_p50=2.0,
            visible_p50=90.0,
            visible_p90=90.0,
            visible_max=90.0,
        ),
    ]


def test_a_line_tells_the_kill_and_what_is_left() -> None:
    outcome = Outcome(seed=7, rate=10.0, planned=300, seconds=120.0, acknowledged=1_234, imports=9)
    outcome.killed = [killed("connect", None), killed("kafka", 16.44, early=True)] * 5
    assert outcome.line() == (
        "10 of 300  kill -9 kafka (early): ready after 2.0 s, visible after 16.4 s;"
        " 1,234 events acknowledged, imports: 9; about 58 min left"
    )


@pytest.mark.parametrize(
    ("seconds", "done", "planned", "expected"),
    [
        (140.0, 10, 1_000, "about 231 min left"),
        (140.0, 10, 16, "about 84 s left"),
        (140.0, 10, 10, "about 0 s left"),
    ],
)
def test_what_is_left_is_estimated_from_the_mean(
    seconds: float, done: int, planned: int, expected: str
) -> None:
    assert left(seconds, done, planned) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"report": Report(verdict=Verdict.EQUAL)}, []),
        ({"report": Report(verdict=Verdict.DIVERGED)}, ["`purser verify` says diverged"]),
        ({"report": Report(verdict=Verdict.UNDECIDED)}, ["`purser verify` says undecided"]),
        ({"lost": 1_234}, ["1,234 acknowledged events are not in PostgreSQL"]),
        ({"unknown": 2}, ["2 events in PostgreSQL were never acknowledged"]),
        ({"doubled": 3}, ["3 events were acknowledged twice"]),
        ({"problem": "kafka keeps dying", "lost": 1},
         ["kafka keeps dying", "1 acknowledged events are not in PostgreSQL"]),
    ],
)  # fmt: skip
def test_a_round_fails_for_these_reasons(changes: dict[str, object], expected: list[str]) -> None:
    outcome = Outcome(seed=7, rate=10.0, planned=1, **changes)  # type: ignore[arg-type]
    assert outcome.failures() == expected
    assert json.loads(json.dumps(outcome.to_json()))["failures"] == expected


def test_a_rejected_command_fails_a_round() -> None:
    outcome = Outcome(seed=7, rate=10.0, planned=1)
    outcome.traffic.rejections["refund_above_capture"] += 1
    assert outcome.failures() == [
        "commands of the traffic were rejected: {'refund_above_capture': 1}"
    ]

"""A marketplace's traffic through a store to which everything happens: nothing is lost or doubled.

The store loses answers, goes away and refuses, and the writer gives up some commands, appended or
not. Still each stream is what the commands lead to one by one, and each event is told of once.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime
from random import Random
from threading import Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load import decide_all
from marketplace import traffic
from marketplace.market import Marketplace, MarketplaceSettings, Step
from marketplace.traffic import Traffic
from schemas.errors import ServiceUnavailable
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from tests.property.test_groups import Troubled, _new
from writer.append import Answer, Writer
from writer.commands import AnyCommand, RequestPayout

START = datetime(2024, 1, 1, tzinfo=UTC)


class Heard:
    """What was told of commits, by several threads."""

    def __init__(self) -> None:
        self.seqs: Counter[tuple[object, int]] = Counter()
        self.lock = Lock()

    def add(self, events: tuple[Event, ...]) -> None:
        with self.lock:
            self.seqs.update((event.payment_id, event.seq) for event in events)


class Unsteady(Troubled):
    """Everything happens but rivals."""

    def _trouble(self, kinds: Sequence[str]) -> str | None:
        return super()._trouble([kind for kind in kinds if kind != "rival"])


class Impatient(Writer):
    """Refuses commands, and gives up some that are appended."""

    def __init__(self, store: Unsteady, chance: Random, gives_up: float) -> None:
        super().__init__(store, read_seconds=0)
        self.chance = chance
        self.gives_up = gives_up
        self.lock = Lock()

    def submit(self, command: AnyCommand, known: object = None) -> "Future[Answer]":
        with self.lock:
            gives_up, is_appended = self.chance.random() < self.gives_up, self.chance.random() < 0.5
        if not gives_up:
            return super().submit(command)
        if not is_appended:
            raise ServiceUnavailable("too many are waiting")
        given_up: Future[Answer] = Future()
        super().submit(command).add_done_callback(
            lambda _: given_up.set_exception(ServiceUnavailable("it took too long"))
        )
        return given_up


def steps_of(seed: int) -> list[Step]:
    """The payments of some seconds, all due at once.

    There are no payouts: other lives decide about the balance of a seller, in whatever order.
    """
    market = MarketplaceSettings(payments_per_second=15, sellers=3, mean_step_seconds=0.3)
    steps = [*Marketplace(seed, START, market).steps(2)]
    payouts = {each.command.payment_id for each in steps if isinstance(each.command, RequestPayout)}
    return [
        Step(at_seconds=0, life=step.life, command=step.command)
        for step in steps
        if step.command.payment_id not in payouts
    ]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    troubles=st.integers(0, 8),
    unanswered_max=st.sampled_from([1, 7, 1_000]),
    gives_up=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_whatever_happens_traffic_is_recorded_once(
    seed: int, troubles: int, unanswered_max: int, gives_up: float
) -> None:
    steps = steps_of(seed)
    store, heard = Unsteady(seed, set(), troubles), Heard()
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(Impatient(store, Random(seed), gives_up)) as writer,
    ):
        patch.setattr(traffic, "RESEND_SECONDS", 0.001)
        report = Traffic(writer, steps, unanswered_max=unanswered_max, on_appended=heard.add).run()
    store.troubles = 0
    expected: dict[PaymentId, list[NewEvent]] = {}
    for rows in decide_all(steps).values():
        expected.setdefault(PaymentId(rows[0].payment_id), []).extend(rows)
    for payment_id, stream in expected.items():
        assert [_new(event) for event in store.load(payment_id)] == stream
    assert heard.seqs == Counter(
        (row.payment_id, row.seq) for stream in expected.values() for row in stream
    )
    assert (report.commands, report.events) == (len(steps), heard.seqs.total())
    assert bool(report.resent) == bool(gives_up)
    assert report.groups.groups * report.groups.mean == pytest.approx(
        sum(size * number for size, number in writer.group_sizes().items())
    )
    assert not report.rejections

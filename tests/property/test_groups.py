"""Commands that are appended together leave the histories that they leave one by one.

A group is compared with its commands one after the other. Then whole crowds of commands go through
the lanes into a store that loses answers, goes away, refuses rows, and to which somebody else
appends: whatever happens, each stream is a history that the rules allow, and each answer fits it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from threading import Event as Flag
from threading import Lock
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Rejection, ServiceUnavailable
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.rejections import RejectionCode as Code
from tests.builders import a_payment, a_payout, change, line
from tests.property.strategies import changes, payments
from writer import commands as c
from writer.append import Writer
from writer.decide import decide
from writer.group import READ_SECONDS, Answer, Appended, Asked, GroupAppender, append_group
from writer.memory import MemoryStore
from writer.state import fold
from writer.store import EventStore, StreamMoved, TookTooLong

NOW = datetime(2024, 1, 1, tzinfo=UTC)
SELLERS = ["s1", "s2"]
WAIT_SECONDS = 60.0


@st.composite
def crowds(draw: st.DrawFn, size_max: int = 24) -> list[c.AnyCommand]:
    """Commands about a few payments, payouts out of their balances, and many sent twice."""
    known = draw(st.lists(payments(), min_size=1, max_size=3))
    chance = Random(draw(st.integers(0, 2**32)))
    commands: list[c.AnyCommand] = [*known]
    for payment in known:  # most of them with money in their sellers' balances
        if chance.random() < 0.8:
            commands.append(change(c.Capture, payment.payment_id))
            commands.append(change(c.Release, payment.payment_id))
    for _ in range(draw(st.integers(1, size_max))):
        payment = draw(st.sampled_from(known))
        commands.append(draw(changes(payment, lambda event, order_id: 400)))
    for _ in range(chance.randrange(5)):
        seller, amount = chance.choice(SELLERS), chance.choice([1, 50, 300, 900])
        payout = a_payout(seller_id=seller, amount_minor=amount)
        commands.append(payout)
        if chance.random() < 0.5:
            kind: type[c.PayoutChange] = chance.choice([c.SubmitPayout, c.FailPayout])
            commands.append(change(kind, payout.payment_id))
    head, tail = commands[: len(known)], commands[len(known) :]
    tail += chance.sample(commands, len(commands) // 4)
    if draw(st.booleans()):
        chance.shuffle(tail)
    return head + tail


def _said(answer: Answer | None) -> object:
    """An answer as a value that can be compared."""
    return str(answer) if isinstance(answer, Rejection) else answer


class Recorder(MemoryStore):
    """Remembers the order of rows in each transaction."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.transactions: list[tuple[NewEvent, ...]] = []

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        self.transactions.append(tuple(events))
        return super().append(events)


@settings(max_examples=300, deadline=None)
@given(commands=crowds(), cuts=st.sets(st.integers(1, 60)), rows_max=st.sampled_from([1, 6, 500]))
def test_a_group_answers_as_its_commands_one_by_one(
    commands: list[c.AnyCommand], cuts: set[int], rows_max: int
) -> None:
    grouped, single = Recorder(), MemoryStore(lambda: NOW)
    starts = [0, *(cut for cut in sorted(cuts) if cut < len(commands)), len(commands)]
    for start, end in pairwise(starts):
        rest = commands[start:end]
        while rest:
            answers = append_group(grouped, rest, rows_max=rows_max)
            done = [(command, answer) for command, answer in zip(rest, answers, strict=True)
                    if answer is not None]  # fmt: skip
            assert done, "a group must answer something, or it would never end"
            # The order of a group: as they came, but payout requests last, by seller.
            requests = [pair for pair in done if isinstance(pair[0], c.RequestPayout)]
            others = [pair for pair in done if pair not in requests]
            requests.sort(key=lambda pair: pair[0].seller_id)  # type: ignore[union-attr]
            for command, answer in others + requests:
                (expected,) = append_group(single, [command])
                assert _said(answer) == _said(expected), command
            rest = [command for command, answer in zip(rest, answers, strict=True)
                    if answer is None]  # fmt: skip
    ids = [command.payment_id for command in commands]
    assert grouped.load_many(ids) == single.load_many(ids)
    for transaction in grouped.transactions:
        _assert_lock_order(transaction)
        assert (
            len(transaction) <= rows_max or len({row.idempotency_key for row in transaction}) == 1
        )


def _assert_lock_order(rows: Sequence[NewEvent]) -> None:
    """Every transaction locks in the same order: places in payments, then balances of sellers."""
    places = [(row.payment_id, row.seq) for row in rows if row.event_type != "requested"]
    assert places == sorted(places)
    requests = rows[len(places) :]
    assert {row.event_type for row in requests} <= {"requested"}
    sellers = [(row.seller_id, row.currency, row.payment_id) for row in requests]
    assert sellers == sorted(sellers)


class Troubled(MemoryStore):
    """A store to which everything happens, as a seed has it; after a while all is well.

    Rows of `cursed` keys are always refused. A rival ships what is about to be captured.
    """

    def __init__(self, seed: int, cursed: set[str], troubles: int) -> None:
        super().__init__(lambda: NOW)
        self.troubles_lock = Lock()
        self.chance = Random(seed)
        self.cursed = cursed
        self.troubles = troubles
        self.rivals: list[c.AnyCommand] = []

    def _trouble(self, kinds: Sequence[str]) -> str | None:
        with self.troubles_lock:
            if not self.troubles or self.chance.random() < 0.4:
                return None
            self.troubles -= 1
            return self.chance.choice(kinds)

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        if self._trouble(["away"]):
            raise ServiceUnavailable("the server is away")
        return super().load(payment_id)

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        if self._trouble(["away"]):
            raise ServiceUnavailable("the server is away")
        return super().load_many(payment_ids)

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        match self._trouble(["away", "lost", "moved", "slow", "rival"]):
            case "away":
                raise ServiceUnavailable("the server is away")
            case "lost":
                super().append(self._allowed(events))
                raise ServiceUnavailable("the answer is lost")
            case "moved":
                raise StreamMoved("somebody was faster")
            case "slow":
                raise TookTooLong("somebody holds a lock")
            case "rival":
                self._let_rival_in(events[0])
        return super().append(self._allowed(events))

    def _allowed(self, events: Sequence[NewEvent]) -> Sequence[NewEvent]:
        for event in events:
            if event.idempotency_key in self.cursed:
                raise Rejection(code=Code.REFUSED_BY_DATABASE, field="row", problem="is cursed")
        return events

    def _let_rival_in(self, event: NewEvent) -> None:
        command = change(c.Ship, PaymentId(event.payment_id))
        decision = decide(fold(super().load(command.payment_id)), command)
        if isinstance(decision, tuple):
            super().append(decision)
            self.rivals.append(command)


class Gate(Troubled):
    """Holds the first command back until all others wait, so that they become groups."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened = Flag()

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        assert self.opened.wait(WAIT_SECONDS)
        return super().load(payment_id)

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        assert self.opened.wait(WAIT_SECONDS)
        return super().load_many(payment_ids)


@contextmanager
def opened(store: EventStore) -> Iterator[Writer]:
    writer = Writer(store, read_seconds=0)  # known streams are used after lost races, too
    try:
        yield writer
    finally:
        writer.close()


@settings(max_examples=120, deadline=None)
@given(commands=crowds(), seed=st.integers(0, 2**32), troubles=st.integers(0, 6), data=st.data())
def test_whatever_happens_no_answer_is_lost_and_no_neighbour_fails(
    commands: list[c.AnyCommand], seed: int, troubles: int, data: st.DataObject
) -> None:
    keys = sorted({command.idempotency_key for command in commands})
    cursed = data.draw(st.sets(st.sampled_from(keys), max_size=2))
    store = Gate(seed, cursed, troubles)
    with opened(store) as writer:
        cut = data.draw(st.integers(0, len(commands)))
        asked = [Asked(command, _prefix(store, command)) for command in commands[:cut]]
        futures = [writer._lanes.submit(each) for each in asked]
        store.opened.set()
        answers = [future.result(WAIT_SECONDS) for future in futures]
        # The others are asked by callers that know how far their streams are, or were.
        asked = [Asked(command, _prefix(store, command)) for command in commands[cut:]]
        futures = [writer._lanes.submit(each) for each in asked]
        answers += [future.result(WAIT_SECONDS) for future in futures]
    store.troubles = 0
    by_payment: dict[PaymentId, list[tuple[c.AnyCommand, Answer]]] = {}
    for command, answer in zip(commands, answers, strict=True):
        by_payment.setdefault(command.payment_id, []).append((command, answer))
    for payment_id, answered in by_payment.items():
        _assert_fits(store.load(payment_id), answered, store)
    for seller in SELLERS:
        assert store.available_minor(seller, "EUR") >= _refunded_from(store, seller, by_payment)


def _prefix(store: Troubled, command: c.AnyCommand) -> tuple[Event, ...] | None:
    """What a caller may know of a command's stream: nothing, or how it once was."""
    stream = MemoryStore.load(store, command.payment_id)
    # Between two commands: the rows of one are there together or not at all.
    ends = [0, *(seq for seq, (one, next_one) in enumerate(pairwise(stream), 1)
                 if one.idempotency_key != next_one.idempotency_key)]  # fmt: skip
    with store.troubles_lock:
        return store.chance.choice([None, stream, stream[: store.chance.choice(ends)]])


def _assert_fits(
    stream: Sequence[Event], answered: Sequence[tuple[c.AnyCommand, Answer]], store: Troubled
) -> None:
    """Check that the stream is what some order of its commands leads to, and the answers too."""
    by_key = {command.idempotency_key: command for command, _ in answered}
    by_key |= {command.idempotency_key: command for command in store.rivals}
    key_order = list(dict.fromkeys(event.idempotency_key for event in stream))
    prefixes = [0]
    for key in key_order:
        before = prefixes[-1]
        rows = decide(fold(stream[:before]), by_key[key], available_minor=10**15)
        assert isinstance(rows, tuple), (key, rows)
        appended = stream[before : before + len(rows)]
        assert [_new(event) for event in appended] == [*rows]
        prefixes.append(before + len(rows))
    assert prefixes[-1] == len(stream), "a key was appended twice"
    firsts: Counter[str] = Counter()
    for command, answer in answered:
        key = command.idempotency_key
        if isinstance(answer, Appended):
            assert answer.events == tuple(e for e in stream if e.idempotency_key == key)
            firsts[key] += not answer.already_done
        elif answer.code == Code.REFUSED_BY_DATABASE:
            assert key in store.cursed
        elif answer.code != Code.PAYOUT_ABOVE_BALANCE:
            refusals = [decide(fold(stream[:end]), command, available_minor=10**15)
                        for end in prefixes]  # fmt: skip
            assert str(answer) in map(str, refusals), (command, answer)
    assert all(count <= 1 for count in firsts.values()), "appended twice, or so it was said"


def _new(event: Event) -> NewEvent:
    return NewEvent(**{name: getattr(event, name) for name in NewEvent.__struct_fields__})


def _refunded_from(store: MemoryStore, seller: str, payment_ids: Iterable[PaymentId]) -> int:
    """The most that a balance may be below zero: refunds of what was released already."""
    return sum(
        min(0, event.available_delta_minor)
        for stream in store.load_many([*payment_ids]).values()
        for event in stream
        if event.seller_id == seller and event.event_type != "requested"
    )


def test_a_command_and_its_repetition_in_one_group_get_the_same_events() -> None:
    store = MemoryStore()
    payment = a_payment()
    first, capture, again = append_group(
        store, [payment, change(c.Capture, payment.payment_id), payment]
    )
    assert isinstance(first, Appended)
    assert isinstance(capture, Appended)
    assert again == Appended(first.events, already_done=True)
    assert store.load(payment.payment_id) == first.events + capture.events


def test_payouts_of_one_group_share_the_balance() -> None:
    store = MemoryStore()
    payment = a_payment(line("A", 1000, 0, seller_id="s1", logistics_fee_minor=0))
    for command in (payment, change(c.Capture, payment.payment_id),
                    change(c.Release, payment.payment_id)):  # fmt: skip
        append_group(store, [command])
    payouts = [a_payout(seller_id="s1", amount_minor=400) for _ in range(4)]
    answers = append_group(store, payouts)
    codes = [answer.code if isinstance(answer, Rejection) else None for answer in answers]
    assert codes == [None, None, Code.PAYOUT_ABOVE_BALANCE, Code.PAYOUT_ABOVE_BALANCE]
    assert store.available_minor("s1", "EUR") == 200


def test_a_payout_may_use_what_its_own_group_releases() -> None:
    store = MemoryStore()
    payment = a_payment(line("A", 1000, 0, seller_id="s1", logistics_fee_minor=0))
    for command in (payment, change(c.Capture, payment.payment_id)):
        append_group(store, [command])
    payout = a_payout(seller_id="s1", amount_minor=1000)
    answers = append_group(store, [payout, change(c.Release, payment.payment_id)])
    assert all(isinstance(answer, Appended) for answer in answers)


class Counting(MemoryStore):
    """Counts the statements."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.reads = 0
        self.refused = 0

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        self.reads += 1
        return super().load(payment_id)

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        try:
            return super().append(events)
        except StreamMoved:
            self.refused += 1
            raise


def created_by(appender: GroupAppender) -> tuple[c.CreatePayment, tuple[Event, ...]]:
    """A new payment, and its stream."""
    payment = a_payment()
    (answer,) = appender.append([Asked(payment, ())])
    assert isinstance(answer, Appended)
    return payment, answer.events


def test_a_stream_that_is_known_is_not_read() -> None:
    store = Counting()
    appender = GroupAppender(store)
    payment, created = created_by(appender)
    (captured,) = appender.append([Asked(change(c.Capture, payment.payment_id), created)])
    assert isinstance(captured, Appended)
    assert store.reads == 0
    assert store.load(payment.payment_id) == created + captured.events


def test_a_stream_that_has_moved_on_is_read_and_so_are_those_soon_after() -> None:
    store, clock = Counting(), [0.0]
    appender = GroupAppender(store, lambda: clock[0])
    payment, created = created_by(appender)
    for _ in range(3):  # a client that sends everything twice costs no more failed inserts
        (again,) = appender.append([Asked(payment, ())])
        assert again == Appended(created, already_done=True)
    assert (store.reads, store.refused) == (3, 1)
    clock[0] = READ_SECONDS
    other = a_payment(idempotency_key="other")
    assert isinstance(appender.append([Asked(other, ())])[0], Appended)
    assert store.reads == 3


def test_nobody_is_refused_because_of_how_a_stream_once_was() -> None:
    store = Counting()
    appender = GroupAppender(store)
    payment, created = created_by(appender)
    appender.append([Asked(change(c.Capture, payment.payment_id), created)])
    asked = Asked(change(c.Release, payment.payment_id), created)
    assert appender.append([asked]) == [None]  # nothing to release, as the caller knows it
    assert isinstance(appender.append([asked])[0], Appended)


class Refusing(Counting):
    """Refuses every row, as a guard that runs before the primary key would."""

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        raise Rejection(code=Code.REFUSED_BY_DATABASE, field="row", problem="is refused")


def test_the_database_refuses_nobody_because_of_how_a_stream_once_was() -> None:
    store = Counting()
    payment, created = created_by(GroupAppender(store))
    store.__class__ = Refusing
    (again,) = GroupAppender(store).append([Asked(payment, ())])
    assert again == Appended(created, already_done=True)


def test_commands_about_one_payment_keep_their_order_if_the_first_is_in_doubt() -> None:
    store = Counting()
    appender = GroupAppender(store)
    payment, created = created_by(appender)
    commands = [change(c.Release, payment.payment_id), change(c.Capture, payment.payment_id)]
    asked = [Asked(command, created) for command in commands]
    assert appender.append(asked) == [None, None]
    refused, captured = appender.append(asked)
    assert isinstance(refused, Rejection)
    assert isinstance(captured, Appended)

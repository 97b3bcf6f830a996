"""Whatever is asked, in whatever order, by whoever is too late: the books stay right.

Several writers hold states that others have made stale and race on `(payment_id, seq)` in a store
that knows nothing but uniqueness and the payout guard. An independent auditor predicts every
answer.
"""

from copy import deepcopy
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from schemas.errors import Rejection
from schemas.lifecycle import EventType
from tests.builders import a_payout, change
from tests.property.auditor import Auditor
from tests.property.strategies import changes, payments
from writer import commands as c
from writer.decide import AlreadyDone, decide
from writer.memory import MemoryStore
from writer.state import apply, fold
from writer.store import StreamMoved

WRITERS = 3


class RacingWriters(RuleBasedStateMachine):
    """Writers read, decide and append in any order; the last read of each may be stale."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(lambda: datetime(2024, 1, 1, tzinfo=UTC))
        self.answers: list[tuple[c.AnyCommand, tuple[int, ...]]] = []
        self.payouts: list[c.RequestPayout] = []

    @initialize(payment=payments(), captured=st.booleans())
    def create(self, payment: c.CreatePayment, captured: bool) -> None:
        self.payment = payment
        rows = decide(None, payment)
        assert isinstance(rows, tuple)
        self.store.append(rows)
        # The auditor's books after each version of the stream, told by its last seq.
        self.books = {len(rows): Auditor(payment)}
        self.read = [self.store.load(payment.payment_id)] * WRITERS
        self.answers.append((payment, tuple(row.seq for row in rows)))
        if captured:
            self._send(0, change(c.Capture, payment.payment_id))

    @rule(writer=st.integers(0, WRITERS - 1))
    def read_again(self, writer: int) -> None:
        self.read[writer] = self.store.load(self.payment.payment_id)

    @rule(writer=st.integers(0, WRITERS - 1), is_fresh=st.booleans(), data=st.data())
    def send(self, writer: int, is_fresh: bool, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            if is_fresh:
                self.read_again(writer)
            left = self.books[len(self.read[writer])].left
            self._send(writer, data.draw(changes(self.payment, left)))

    def _send(self, writer: int, command: c.Change) -> None:
        known = self.read[writer]
        books = self.books[len(known)]
        decision = decide(fold(known), command)
        if isinstance(decision, Rejection):
            assert books.predicts(command) is None, (command, decision)
            return
        assert isinstance(decision, tuple)
        is_stale = len(known) != len(self.store.load(self.payment.payment_id))
        try:
            appended = self.store.append(decision)
        except StreamMoved:
            assert is_stale
            return
        assert not is_stale, "a decision on a stale state was appended"
        after = deepcopy(books)
        after.write_down(command, decision)
        self.read[writer] = (*known, *appended)
        self.books[len(self.read[writer])] = after
        self.answers.append((command, tuple(row.seq for row in decision)))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """An answered request that is sent again changes nothing and gets the same answer."""
        command, seqs = data.draw(st.sampled_from(self.answers))
        stream = self.store.load(command.payment_id)
        decision = decide(fold(stream), command, available_minor=0)
        assert isinstance(decision, AlreadyDone), (command, decision)
        assert tuple(row.seq for row in decision.events) == seqs

    @rule(seller=st.sampled_from(["s1", "s2"]), above=st.integers(-9, 9), stale=st.booleans())
    def pay_out(self, seller: str, above: int, stale: bool) -> None:
        balance = self.store.available_minor(seller, "EUR")
        amount = max(1, balance + above)
        command = a_payout(seller_id=seller, amount_minor=amount)
        decision = decide(None, command, available_minor=10**9 if stale else balance)
        if isinstance(decision, Rejection):
            assert amount > balance
            return
        assert isinstance(decision, tuple)
        try:
            self.store.append(decision)
        except Rejection:
            assert stale
            assert amount > balance
            return
        assert amount <= balance
        self.payouts.append(command)
        self.answers.append((command, (1,)))

    @precondition(lambda self: self.payouts)
    @rule(kind=st.sampled_from([c.SubmitPayout, c.MarkPayoutPaid, c.FailPayout, c.ReturnPayout]),
          data=st.data())  # fmt: skip
    def follow_payout(self, kind: type[c.PayoutChange], data: st.DataObject) -> None:
        payout = data.draw(st.sampled_from(self.payouts))
        state = fold(self.store.load(payout.payment_id))
        before = self.store.available_minor(payout.seller_id, "EUR")
        decision = decide(state, change(kind, payout.payment_id))
        if isinstance(decision, tuple):
            self.store.append(decision)
            back = decision[0].event_type in (EventType.FAILED, EventType.RETURNED)
            expected = before + payout.amount_minor * back
            assert self.store.available_minor(payout.seller_id, "EUR") == expected

    @invariant()
    def streams_have_no_gap_and_balances_are_their_sums(self) -> None:
        ids = {command.payment_id for command, _ in self.answers}
        streams = self.store.load_many([*ids])
        for stream in streams.values():
            assert [event.seq for event in stream] == [*range(1, len(stream) + 1)]
        for seller in ("s1", "s2"):
            total = sum(
                event.available_delta_minor
                for stream in streams.values()
                for event in stream
                if event.seller_id == seller
            )
            assert self.store.available_minor(seller, "EUR") == total


TestRacingWriters = RacingWriters.TestCase
TestRacingWriters.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    payment=payments(),
    count=st.integers(10, 30),
    captured=st.one_of(st.none(), st.integers(1, 1000)),
)
def test_one_writer_does_what_the_auditor_predicts(
    data: st.DataObject, payment: c.CreatePayment, count: int, captured: int | None
) -> None:
    rows = decide(None, payment)
    assert isinstance(rows, tuple)
    books, state, stream = Auditor(payment), apply(None, rows), [*rows]
    commands: list[c.Change] = [change(c.Capture, payment.payment_id, amount_minor=captured)]
    while commands:
        command = commands.pop()
        decision = decide(state, command)
        if isinstance(decision, tuple):
            books.write_down(command, decision)
            state = apply(state, decision)
            stream += decision
        else:
            assert books.predicts(command) is None, (command, decision)
        if count := count - 1:
            commands.append(data.draw(changes(payment, books.left)))
    assert fold(stream) == state, "folding at once is not folding step by step"

"""The memory of pending payments: a fold of events into what is open, since when, and when to ask.

It holds the little that tells whether a payment may be pending; what is to be done is decided from
its stream, when it is due. So it may remember too much, and must never forget: an entry leaves it
only through an event that plainly ends the question, or because the stream was read and nothing is
open. Events of the topic may come again, and streams of the table may be ahead of the topic or
behind it. Pure: the caller has the clock.

Its size is bounded. If there are more pending payments than that, it says so (`overflowed`), and
they are read from the table again once there is room.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol
from uuid import UUID

from pydantic import ValidationError

from payins.intents import ENDINGS, refund_id_of
from payins.policies import QUESTIONS, Question, policy_of
from schemas.details import CreatedDetails, parse_details
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, EventType, Status

_E = EventType

OPENS: Mapping[EventType, str] = {
    _E.CAPTURE_REQUESTED: "capture",
    _E.CANCEL_REQUESTED: "cancel",
    _E.REFUND_REQUESTED: "refund",
    _E.STRAY_CAPTURED: "late",
    # Late money waits for the bank.
    _E.DISPUTE_WON: "late",
    _E.DISPUTE_LOST: "late",
    _E.STRAY_DISPUTE_WON: "late",
}
"""Events that leave a question beside the order's status."""

CLOSES: Mapping[EventType, tuple[str, ...]] = {
    _E.CAPTURE_FAILED: ("capture",),
    _E.CANCEL_FAILED: ("cancel",),
    **dict.fromkeys(ENDINGS, ("capture", "cancel")),
    _E.REFUNDED: ("refund",),
    _E.REFUND_FAILED: ("refund",),
}
"""Events that end such questions. What is late is closed only by a look at the stream."""

_REFUNDS = frozenset({_E.REFUND_REQUESTED, _E.REFUNDED, _E.REFUND_FAILED})

_QUEUE = ("queue",)
"""The request of a payment of which only the retry queue has told."""

_STALE_ALLOWED = 1_000


class Seen(Protocol):
    """The fields of an event that the memory reads."""

    @property
    def payment_id(self) -> UUID: ...
    @property
    def seq(self) -> int: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def event_type(self) -> EventType: ...
    @property
    def status(self) -> Status: ...
    @property
    def order_id(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def details(self) -> str: ...
    @property
    def recorded_at(self) -> datetime: ...


@dataclass(slots=True, kw_only=True)
class Pending:
    """One payment that may be pending.

    `orders` is what is open about the charge of each order, `requests` what is open beside it.
    `due_at` is when to look at it, `looked_at` when the processor was last asked, `sent_at` when
    this worker last asked for a charge, `repeats` how often it did so for the latest attempt, and
    `is_refused` whether that was refused. `in_hand`: it is being looked at.
    """

    partition: int
    method: str
    since: datetime
    due_at: datetime
    last_seq: int
    orders: dict[str, Question] = field(default_factory=dict)
    requests: dict[tuple[str, ...], Question] = field(default_factory=dict)
    looked_at: datetime | None = None
    sent_at: datetime | None = None
    repeats: int = 0
    is_refused: bool = False
    in_hand: bool = False

    @property
    def question(self) -> Question:
        """What is most open about it."""
        open_now = set(self.requests.values()) or set(self.orders.values())
        return min(open_now, key=_RANK.__getitem__, default=Question.REQUEST)


_RANK = {question: rank for rank, question in enumerate(Question)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCount:
    """How many payments have a question open, and since when the oldest."""

    number: int
    oldest_since: datetime


class PendingMemory:
    """Every pending payment of the partitions that this worker reads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[PaymentId, Pending] = {}
        self._heap: list[tuple[datetime, int, PaymentId]] = []
        self._numbers = count()
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, payment_id: PaymentId) -> Pending | None:
        """Return what is known of a payment; None if nothing is pending."""
        return self._entries.get(payment_id)

    @property
    def has_room(self) -> bool:
        """Whether what did not fit can be read again."""
        return len(self._entries) * 2 <= self._limit

    # -- events

    def apply(self, event: Seen, partition: int) -> bool:
        """Take an event of the topic into account; those of a payment come in order, or again.

        Return whether its details can be read. `payments` takes any JSON object from any writer.
        Rows that Purser's writer made can be read, so another's cannot be ours to ask about.
        """
        if event.direction is not Direction.IN:
            return True
        payment_id = PaymentId(event.payment_id)
        known = self._entries.get(payment_id)
        try:
            refund_id = refund_id_of(event) if event.event_type in _REFUNDS else None
            if event.event_type is _E.CREATED:
                question = _created_question(event, known)
            else:
                question = QUESTIONS.get(event.status)
        except ValidationError:
            return False
        self._apply(event, partition, question, refund_id)
        return True

    def _apply(
        self, event: Seen, partition: int, question: Question | None, refund_id: str | None
    ) -> None:
        payment_id = PaymentId(event.payment_id)
        known = self._entries.get(payment_id)
        request = OPENS.get(event.event_type)
        if known is None:
            if question is None and request is None:
                return
            if not (known := self._opened(payment_id, event, partition)):
                return
        elif event.seq <= known.last_seq:
            return  # it must not close what a later event has opened
        known.last_seq = event.seq
        known.method = event.method
        if question is None:
            known.orders.pop(event.order_id, None)
        elif known.orders.get(event.order_id) is not question:
            known.orders[event.order_id] = question
            self._open_since(payment_id, known, event, question)
        for closed in CLOSES.get(event.event_type, ()):
            known.requests.pop(_request_key(closed, event, refund_id), None)
        if request is not None:
            beside = Question.LATE if request == "late" else Question.REQUEST
            known.requests[_request_key(request, event, refund_id)] = beside
            self._open_since(payment_id, known, event, beside)
        if not known.orders and not known.requests and not known.in_hand:
            del self._entries[payment_id]

    def apply_stream(self, events: Sequence[Seen], partition: int) -> None:
        """Take into account all events of a payment that the table has, the first one first.

        They say everything that is open. If the topic was faster, what it told stays open, too.
        """
        alone = PendingMemory(1)
        for event in events:
            alone.apply(event, partition)
        payment_id, last_seq = PaymentId(events[0].payment_id), events[-1].seq
        fresh, known = alone.get(payment_id), self._entries.get(payment_id)
        if known is None:
            if fresh is not None:
                self._take_up(payment_id, fresh)
            return
        orders = fresh.orders if fresh else {}
        requests = fresh.requests if fresh else {}
        was_open = known.orders.items() | known.requests.items()
        is_new = not (orders.items() | requests.items() <= was_open)
        if known.last_seq > last_seq:
            orders, requests = orders | known.orders, requests | known.requests
        elif _QUEUE in known.requests:
            requests = requests | {_QUEUE: Question.REQUEST}
        known.orders, known.requests = orders, requests
        known.last_seq = max(known.last_seq, last_seq)
        if fresh is not None:
            known.method = fresh.method
        if fresh is not None and is_new:
            known.since, known.looked_at = fresh.since, None
            self._due(payment_id, known, min(known.due_at, fresh.due_at))
        elif not orders and not requests and not known.in_hand:
            del self._entries[payment_id]

    def remember(
        self, payment_id: PaymentId, partition: int, method: str, since: datetime, due_at: datetime
    ) -> None:
        """Take up a payment from elsewhere, such as the retry queue."""
        if payment_id in self._entries:
            return
        entry = Pending(
            partition=partition,
            method=method,
            since=since,
            due_at=due_at,
            last_seq=0,
            requests={_QUEUE: Question.REQUEST},
        )
        self._take_up(payment_id, entry)

    # -- work

    def take_due(self, now: datetime, most: int) -> list[PaymentId]:
        """Return payments that are due, oldest first; each is in hand until it is given back."""
        taken: list[PaymentId] = []
        while self._heap and len(taken) < most and self._heap[0][0] <= now:
            due_at, _, payment_id = heappop(self._heap)
            entry = self._entries.get(payment_id)
            if entry is None or entry.in_hand or entry.due_at != due_at:
                continue
            entry.in_hand = True
            taken.append(payment_id)
        return taken

    def next_due(self) -> datetime | None:
        """Return when the next payment is due, or an earlier time; None if nothing is pending."""
        return self._heap[0][0] if self._heap else None

    def settled(self, payment_id: PaymentId, last_seq: int, now: datetime) -> None:
        """Forget a payment whose stream has nothing open after `last_seq` events."""
        entry = self._entries.get(payment_id)
        if entry is None:
            return
        entry.in_hand = False
        if entry.last_seq > last_seq:
            self._due(payment_id, entry, now)  # it moved on meanwhile
        else:
            del self._entries[payment_id]

    def later(self, payment_id: PaymentId, due_at: datetime, last_seq: int) -> None:
        """Give a payment back that is still open after `last_seq` events."""
        entry = self._entries.get(payment_id)
        if entry is not None:
            entry.in_hand = False
            moved_on = entry.last_seq > last_seq
            self._due(payment_id, entry, min(due_at, entry.due_at) if moved_on else due_at)

    def keep_partitions(self, kept: Iterable[int]) -> None:
        """Forget the payments of all other partitions: another worker has them."""
        owned = frozenset(kept)
        self._entries = {
            payment_id: entry
            for payment_id, entry in self._entries.items()
            if entry.partition in owned
        }
        self._rebuild_heap()

    def counts(self) -> dict[Question, PendingCount]:
        """Return how many payments have each question open."""
        found: dict[Question, PendingCount] = {}
        for entry in self._entries.values():
            question = entry.question
            before = found.get(question)
            found[question] = PendingCount(
                number=before.number + 1 if before else 1,
                oldest_since=min(before.oldest_since, entry.since) if before else entry.since,
            )
        return found

    def by_partition(self) -> dict[int, list[PaymentId]]:
        """Return which payments it holds of each partition."""
        found: dict[int, list[PaymentId]] = {}
        for payment_id, entry in self._entries.items():
            found.setdefault(entry.partition, []).append(payment_id)
        return found

    # -- inside

    def _take_up(self, payment_id: PaymentId, entry: Pending) -> None:
        if len(self._entries) >= self._limit:
            self.overflowed = True
            return
        self._entries[payment_id] = entry
        self._push(payment_id, entry.due_at)

    def _opened(self, payment_id: PaymentId, event: Seen, partition: int) -> Pending | None:
        if len(self._entries) >= self._limit:
            self.overflowed = True
            return None
        entry = Pending(
            partition=partition,
            method=event.method,
            since=event.recorded_at,
            due_at=datetime.max.replace(tzinfo=event.recorded_at.tzinfo),
            last_seq=event.seq,
        )
        self._entries[payment_id] = entry
        return entry

    def _open_since(
        self, payment_id: PaymentId, entry: Pending, event: Seen, question: Question
    ) -> None:
        """A question opens: it is due after its first interval."""
        entry.since = event.recorded_at
        entry.looked_at = None
        policy = policy_of(entry.method)
        wait = policy.intervals[question].after(event.recorded_at - event.recorded_at)
        if question is Question.UNCONFIRMED:
            wait = policy.confirm_within
        if entry.in_hand:
            entry.due_at = event.recorded_at + wait  # given back with a time of its own
        else:
            self._due(payment_id, entry, event.recorded_at + wait)

    def _due(self, payment_id: PaymentId, entry: Pending, due_at: datetime) -> None:
        entry.due_at = due_at
        self._push(payment_id, due_at)

    def _push(self, payment_id: PaymentId, due_at: datetime) -> None:
        heappush(self._heap, (due_at, next(self._numbers), payment_id))
        if len(self._heap) > 2 * len(self._entries) + _STALE_ALLOWED:
            self._rebuild_heap()

    def _rebuild_heap(self) -> None:
        """Drop what is not due at that time any more."""
        self._heap = [
            (entry.due_at, next(self._numbers), payment_id)
            for payment_id, entry in self._entries.items()
            if not entry.in_hand
        ]
        heapify(self._heap)


def _request_key(request: str, event: Seen, refund_id: str | None) -> tuple[str, ...]:
    """Name a request: that of an order, or that of a refund's part for an order."""
    if event.event_type in _REFUNDS:
        return request, event.order_id, refund_id or ""
    return request, event.order_id


def _created_question(event: Seen, known: Pending | None) -> Question | None:
    """Return what a created order leaves open: the first row says how the buyer pays."""
    if event.seq > 1:
        return known.question if known is not None else None
    flow = parse_details(CreatedDetails, event.details).flow
    if flow is None:
        return None  # its processor is not ours to call
    return Question.UNCONFIRMED if flow == "confirm_later" else Question.ASKED

"""One attempt to append a group of commands: load, decide each, insert all their rows at once.

A group costs one statement to load the streams and one to insert, whatever its size, and one
commit. Every command is decided by itself, by the same pure `decide` as ever. Commands about one
payment follow each other: the second is decided on the state that the first one's rows lead to.

If the attempt raises, nothing is known of any command, and each must be read and decided again.
`writer.lanes` decides when, and with whom.

A caller that has just read or appended a stream may hand it in, and it is not read again. Should it
have moved on, its next position is taken: the insert fails, and the group is read after all.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from schemas.effects import effect_of
from schemas.errors import Rejection
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from writer.commands import AnyCommand, RequestPayout
from writer.decide import AlreadyDone, Decision, decide
from writer.state import PaymentState, apply, fold
from writer.store import Account, EventStore, StreamMoved

ROWS_MAX = 500
"""Rows of one transaction. A command with more is appended by itself."""
READ_SECONDS = 1.0
"""How long every stream is read after a group with a known one lost a race. Whatever makes that
frequent, such as clients that send everything twice, costs a failed insert a second at most."""

Streams = Mapping[PaymentId, tuple[Event, ...]]
NO_STREAMS: Streams = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Appended:
    """The command was carried out and its rows are stored. `already_done`: they were before."""

    events: tuple[Event, ...]
    already_done: bool = False


Answer = Appended | Rejection


@dataclass(slots=True, eq=False)
class Asked:
    """A command, and its stream if the caller knows it; empty if the payment should be new."""

    command: AnyCommand
    known: tuple[Event, ...] | None = None


class GroupAppender:
    """Appends groups; uses what callers know of the streams, once, and reads the others."""

    def __init__(
        self,
        store: EventStore,
        clock: Callable[[], float] = time.monotonic,
        *,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._read_seconds = read_seconds
        self._read_until = float("-inf")

    def append(self, asked: Sequence[Asked]) -> list[Answer | None]:
        """Carry out commands in one transaction; None for those that must be tried again.

        Raises what `append_group` raises.
        """
        commands = [each.command for each in asked]
        if known := self._known(asked):
            try:
                return append_group(self._store, commands, known=known)
            except StreamMoved:
                self._read_until = self._clock() + self._read_seconds
            except Rejection:
                pass  # decided again on what the database has
        return append_group(self._store, commands)

    def _known(self, asked: Sequence[Asked]) -> Streams:
        """Take the streams that were handed in. Nobody uses them a second time: `Lanes` relies on
        an answer for whatever it tries alone.
        """
        known: dict[PaymentId, tuple[Event, ...]] = {}
        for each in asked:
            stream, each.known = each.known, None
            if stream is not None:
                payment_id = each.command.payment_id
                known[payment_id] = max(known.get(payment_id, ()), stream, key=len)
        return known if self._clock() >= self._read_until else NO_STREAMS


def append_group(
    store: EventStore,
    commands: Sequence[AnyCommand],
    *,
    known: Streams = NO_STREAMS,
    rows_max: int = ROWS_MAX,
) -> list[Answer | None]:
    """Carry out commands in one transaction; None for those that must wait for the next one.

    `known` has streams that need not be read. They may have moved on, so no command about them is
    rejected: it gets None, as do those about the same payment behind it. Without such streams at
    least one command gets an answer.

    Raises:
        Rejection: the database refused one of several commands, or one on a known stream, and so
            all of them.
        StreamMoved: a stream has moved on since it was read.
        PurserError: whatever else the store raises.
    """
    group = _Group(commands, known, rows_max)
    group.read(store)
    decisions = group.decide_all()
    rows = sorted(
        (row for decision in decisions if isinstance(decision, tuple) for row in decision),
        key=lock_order,
    )
    try:
        stored = store.append(rows) if rows else ()
    except Rejection as rejection:
        if len(commands) > 1 or known:
            raise
        return [rejection]
    event_of = {id(row): event for row, event in zip(rows, stored, strict=True)}
    return [_answer(decision, event_of) for decision in decisions]


def lock_order(row: NewEvent) -> tuple[bool, str, str, int, int]:
    """Sort key of rows: the same in all groups, so that no two groups wait for each other.

    Each row locks its place in its payment. A payout request locks its seller's balance as well,
    so requests come last, by seller.
    """
    if effect_of(row).draws_on_balance:
        return True, row.seller_id, row.currency, row.payment_id.int, row.seq
    return False, "", "", row.payment_id.int, row.seq


class _Group:
    """The commands of a group, and the states and balances as its decisions leave them."""

    def __init__(self, commands: Sequence[AnyCommand], known: Streams, rows_max: int) -> None:
        self._commands = commands
        self._payment_ids = [command.payment_id for command in commands]
        self._known = known
        self._doubtful: set[PaymentId] = set()  # of which a command is refused as it is known
        self._rows_max = rows_max
        self._rows = 0
        self._streams: dict[PaymentId, tuple[Event, ...]] = {}
        self._states: dict[PaymentId, PaymentState | None] = {}
        self._decided: dict[PaymentId, tuple[NewEvent, ...]] = {}  # and not yet in its state
        self._balances: defaultdict[Account, int] = defaultdict(int)
        self._order = self._in_order()

    def _in_order(self) -> list[int]:
        """Return the commands to decide, in their order: as they came, but payout requests last.

        That is the order in which their rows are inserted. So a request is decided on the balance
        that the database will see. Another command about a payout that is requested in this group
        is left to the next one.
        """
        requests: dict[PaymentId, int] = {}
        for index, command in enumerate(self._commands):
            if isinstance(command, RequestPayout):
                requests.setdefault(self._payment_ids[index], index)
        if not requests:
            return [*range(len(self._commands))]
        others = [
            index
            for index, payment_id in enumerate(self._payment_ids)
            if payment_id not in requests
        ]
        return others + sorted(requests.values(), key=self._account)

    def _account(self, index: int) -> Account:
        request = self._commands[index]
        assert isinstance(request, RequestPayout), request
        return request.seller_id, request.currency

    def read(self, store: EventStore) -> None:
        """Read what is not known: streams with one statement, balances of payees with one."""
        self._streams.update(self._known)
        unknown = [each for each in dict.fromkeys(self._payment_ids) if each not in self._known]
        if len(unknown) == 1:
            self._streams[unknown[0]] = store.load(unknown[0])
        elif unknown:
            self._streams.update(store.load_many(unknown))
        accounts = {
            self._account(index)
            for index, command in enumerate(self._commands)
            if isinstance(command, RequestPayout)
            and not self._streams.get(self._payment_ids[index])
        }
        if len(accounts) == 1:
            (account,) = accounts
            self._balances[account] = store.available_minor(*account)
        elif accounts:
            self._balances.update(store.available_many_minor(accounts))

    def decide_all(self) -> list[Decision | None]:
        """Decide one command after the other, until there are enough rows."""
        decisions: list[Decision | None] = [None] * len(self._commands)
        for index in self._order:
            if self._payment_ids[index] in self._doubtful:
                continue
            decision = self._decide(index)
            if isinstance(decision, Rejection) and self._payment_ids[index] in self._known:
                self._doubtful.add(self._payment_ids[index])
                continue
            if isinstance(decision, tuple):
                if self._rows and self._rows + len(decision) > self._rows_max:
                    break
                self._rows += len(decision)
                self._decided[self._payment_ids[index]] = decision
                for row in decision:
                    if row.available_delta_minor:
                        account = row.seller_id, row.currency
                        self._balances[account] += row.available_delta_minor
            decisions[index] = decision
        return decisions

    def _decide(self, index: int) -> Decision:
        command, payment_id = self._commands[index], self._payment_ids[index]
        if payment_id not in self._states:
            self._states[payment_id] = fold(self._streams.get(payment_id, ()))
        if rows := self._decided.pop(payment_id, ()):
            self._states[payment_id] = apply(self._states[payment_id], rows)
        available_minor = None
        if isinstance(command, RequestPayout):
            available_minor = self._balances[self._account(index)]
        return decide(self._states[payment_id], command, available_minor=available_minor)


def _answer(decision: Decision | None, event_of: Mapping[int, Event]) -> Answer | None:
    match decision:
        case None | Rejection():
            return decision
        case AlreadyDone(events=events):
            return Appended(tuple(_as_stored(row, event_of) for row in events), already_done=True)
        case rows:
            return Appended(tuple(event_of[id(row)] for row in rows))


def _as_stored(row: NewEvent, event_of: Mapping[int, Event]) -> Event:
    """Return a row of an earlier command, of the stream or of this group, as it is stored."""
    return row if isinstance(row, Event) else event_of[id(row)]

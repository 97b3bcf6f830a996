"""One attempt to append a group of commands: load, decide each, insert all their rows at once.

A group costs one statement to load the streams and one to insert, whatever its size, and one
commit. Every command is decided by itself, by the same pure `decide` as ever. Commands about one
payment follow each other: the second is decided on the state that the first one's rows lead to.

If the attempt raises, nothing is known of any command, and each must be read and decided again.
`writer.lanes` decides when, and with whom.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from schemas.effects import effect_of
from schemas.errors import Rejection
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from writer.commands import AnyCommand, RequestPayout
from writer.decide import AlreadyDone, Decision, decide
from writer.state import PaymentState, apply, fold
from writer.store import Account, EventStore

ROWS_MAX = 500
"""Rows of one transaction. A command with more is appended by itself."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The command was carried out and its rows are stored. `already_done`: they were before."""

    events: tuple[Event, ...]
    already_done: bool = False


Answer = Appended | Rejection


def append_group(
    store: EventStore, commands: Sequence[AnyCommand], *, rows_max: int = ROWS_MAX
) -> list[Answer | None]:
    """Carry out commands in one transaction; None for those that must wait for the next one.

    At least one command gets an answer.

    Raises:
        Rejection: the database refused one of several commands, and so all of them.
        PurserError: whatever the store raises.
    """
    group = _Group(_streams(store, commands), rows_max)
    order = _order(commands)
    group.read_balances(store, (commands[index] for index in order))
    decisions = group.decide_all(commands, order)
    rows = sorted(
        (row for decision in decisions if isinstance(decision, tuple) for row in decision),
        key=_lock_order,
    )
    try:
        stored = store.append(rows) if rows else ()
    except Rejection as rejection:
        if len(commands) > 1:
            raise
        return [rejection]
    by_position = {(event.payment_id, event.seq): event for event in stored}
    return [_answer(decision, by_position) for decision in decisions]


def _streams(
    store: EventStore, commands: Sequence[AnyCommand]
) -> Mapping[PaymentId, tuple[Event, ...]]:
    payment_ids = list(dict.fromkeys(command.payment_id for command in commands))
    if len(payment_ids) == 1:
        return {payment_ids[0]: store.load(payment_ids[0])}
    return store.load_many(payment_ids)


def _order(commands: Sequence[AnyCommand]) -> list[int]:
    """Return the commands to decide, in their order: as they came, but payout requests last.

    That is the order in which their rows are inserted. So a request is decided on the balance that
    the database will see. Another command about a payout that is requested in this group is left
    to the next one.
    """
    requests: dict[PaymentId, int] = {}
    for index, command in enumerate(commands):
        if isinstance(command, RequestPayout):
            requests.setdefault(command.payment_id, index)
    others = [index for index, command in enumerate(commands) if command.payment_id not in requests]

    def lock_order(index: int) -> tuple[str, str, UUID]:
        request = commands[index]
        assert isinstance(request, RequestPayout), request
        return str(request.seller_id), str(request.currency), request.payment_id

    return others + sorted(requests.values(), key=lock_order)


def _lock_order(row: NewEvent) -> tuple[bool, str, str, int, int]:
    """Sort key of rows: the same in all groups, so that no two groups wait for each other.

    Each row locks its place in its payment. A payout request locks its seller's balance as well,
    so requests come last, by seller.
    """
    if effect_of(row).draws_on_balance:
        return True, row.seller_id, row.currency, row.payment_id.int, row.seq
    return False, "", "", row.payment_id.int, row.seq


@dataclass(slots=True)
class _Group:
    """States and balances as the group's decisions leave them."""

    streams: Mapping[PaymentId, tuple[Event, ...]]
    rows_max: int
    states: dict[PaymentId, PaymentState | None] = field(default_factory=dict)
    balances: defaultdict[Account, int] = field(default_factory=lambda: defaultdict(int))
    rows: int = 0

    def read_balances(self, store: EventStore, commands: Iterable[AnyCommand]) -> None:
        """Read the balances of all sellers who are to be paid, with one statement."""
        accounts = {
            (command.seller_id, command.currency)
            for command in commands
            if isinstance(command, RequestPayout) and not self.streams.get(command.payment_id)
        }
        if len(accounts) == 1:
            (account,) = accounts
            self.balances[account] = store.available_minor(*account)
        elif accounts:
            self.balances.update(store.available_many_minor(accounts))

    def decide_all(
        self, commands: Sequence[AnyCommand], order: Sequence[int]
    ) -> list[Decision | None]:
        """Decide one command after the other, until there are enough rows."""
        decisions: list[Decision | None] = [None] * len(commands)
        for index in order:
            command = commands[index]
            decision = self._decide(command)
            if isinstance(decision, tuple):
                if self.rows and self.rows + len(decision) > self.rows_max:
                    break
                self._follow(command.payment_id, decision)
            decisions[index] = decision
        return decisions

    def _decide(self, command: AnyCommand) -> Decision:
        payment_id = command.payment_id
        if payment_id not in self.states:
            self.states[payment_id] = fold(self.streams.get(payment_id, ()))
        available_minor = None
        if isinstance(command, RequestPayout):
            available_minor = self.balances[command.seller_id, command.currency]
        return decide(self.states[payment_id], command, available_minor=available_minor)

    def _follow(self, payment_id: PaymentId, rows: Sequence[NewEvent]) -> None:
        self.rows += len(rows)
        self.states[payment_id] = apply(self.states[payment_id], rows)
        for row in rows:
            self.balances[row.seller_id, row.currency] += row.available_delta_minor


def _answer(decision: Decision | None, stored: Mapping[tuple[UUID, int], Event]) -> Answer | None:
    match decision:
        case None | Rejection():
            return decision
        case AlreadyDone(events=events):
            return Appended(tuple(_as_stored(row, stored) for row in events), already_done=True)
        case rows:
            return Appended(tuple(_as_stored(row, stored) for row in rows))


def _as_stored(row: NewEvent, stored: Mapping[tuple[UUID, int], Event]) -> Event:
    event = row if isinstance(row, Event) else stored[row.payment_id, row.seq]
    assert isinstance(event, Event), event
    return event

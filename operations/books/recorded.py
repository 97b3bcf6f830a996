"""Our side: what the events of `payments` say about the money at a PSP.

The kinds and amounts follow from `schemas.effects`, the table from which the postings follow too:
an event counts with what it does to `psp_receivable`. Everything of one look is read in one
repeatable-read, read-only transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

import psycopg

from connectors.books import RECEIVABLE_SIGN, BookKind
from operations.verify.source import CONNECT_SECONDS, FETCH_ROWS, postgres_errors
from schemas.effects import EFFECTS, Effect, Move, Suspense
from schemas.lifecycle import Direction, EventType

_MOVES: Mapping[Move, BookKind] = {
    Move.CAPTURE: BookKind.CHARGES,
    Move.REVERSE: BookKind.REFUNDS,
    Move.DISPUTE: BookKind.DISPUTES_TAKEN,
    Move.UNDISPUTE: BookKind.DISPUTES_GIVEN_BACK,
    Move.RESTORE: BookKind.DISPUTES_GIVEN_BACK,
}
"""How an event moves its amount -> what it is at the PSP. A lost dispute moves nothing there."""
_STRAYS: Mapping[Suspense, BookKind] = {
    Suspense.IN: BookKind.CHARGES,
    Suspense.OUT: BookKind.REFUNDS,
    Suspense.RETURNED: BookKind.REFUNDS,
    Suspense.TAKEN: BookKind.DISPUTES_TAKEN,
    Suspense.GIVEN_BACK: BookKind.DISPUTES_GIVEN_BACK,
}
"""What an event without a place for its money is at the PSP."""


def kind_of(effect: Effect) -> BookKind | None:
    """What an event is in the PSP's books; None if it moves no money there."""
    if effect.move is Move.NONE:
        return _STRAYS.get(effect.suspense)
    if effect.suspense is Suspense.OUT:
        return None  # honoured: the money had come before
    return _MOVES.get(effect.move)


KINDS: Mapping[EventType, BookKind] = {
    event: kind
    for event, effect in EFFECTS[Direction.IN].items()
    if (kind := kind_of(effect)) is not None
}
"""Event of a pay-in -> kind, for all that move money at the PSP."""


def amount_of(event_type: EventType, amount_minor: int, suspense_minor: int) -> int:
    """What an event moved at the PSP, positive in the direction of its kind."""
    kind = KINDS[event_type]
    order_minor = RECEIVABLE_SIGN[kind] * amount_minor if _has_order(event_type) else 0
    return RECEIVABLE_SIGN[kind] * (order_minor + suspense_minor)


def _has_order(event_type: EventType) -> bool:
    """Whether an order has a place for the event's amount; a stray is in suspense, whole."""
    return EFFECTS[Direction.IN][event_type].move is not Move.NONE


class Key(NamedTuple):
    """What is compared with one line or several: `reference` is empty where ours has none."""

    payment_id: str
    kind: BookKind
    currency: str
    reference: str


class Amount(NamedTuple):
    """What our events say of one key; the times are those of its latest event."""

    key: Key
    amount_minor: int
    occurred_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """Intents without an outcome: what the PSP was asked, or is being asked, for."""

    what: str
    """`charges`, `captures` or `refunds`."""
    currency: str
    count: int
    amount_minor: int
    oldest_at: datetime


def _cases(values: Mapping[EventType, str]) -> str:
    return " ".join(f"WHEN '{event}' THEN {value}" for event, value in values.items())


def _signed(event_type: EventType) -> str:
    """The SQL of `amount_of`."""
    order = "amount_minor" if _has_order(event_type) else "0"
    sign = "+" if RECEIVABLE_SIGN[KINDS[event_type]] > 0 else "-"
    return f"{order} {sign} suspense_minor"


_MONEY = f"""
SELECT payment_id::text, CASE event_type {_cases({e: f"'{k}'" for e, k in KINDS.items()})} END,
       currency, coalesce(psp_reference, ''),
       sum(CASE event_type {_cases({e: _signed(e) for e in KINDS})} END)::text,
       max(occurred_at), max(recorded_at)
FROM payments
WHERE direction = 'in' AND psp = %(psp)s
  AND event_type IN ({", ".join(f"'{event}'" for event in KINDS)}) AND {{scope}}
GROUP BY 1, 2, 3, 4
"""
_ALL = _MONEY.format(scope="true")
_SINCE = _MONEY.format(
    scope="payment_id IN (SELECT payment_id FROM payments"
    " WHERE direction = 'in' AND psp = %(psp)s AND occurred_at >= %(since)s)"
)
# A join, because it looks into one partition for each payment.
_OF_PAYMENTS = _MONEY.format(scope="payment_id = asked.id").replace(
    "FROM payments\n", "FROM unnest(%(payments)s::uuid[]) AS asked (id), payments\n"
)
_OWNERS = """
SELECT DISTINCT psp_reference, payment_id::text FROM payments
WHERE direction = 'in' AND psp = %(psp)s AND psp_reference = ANY(%(references)s::text[])
"""

_WINDOW = "(%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)"
# Latest state of every order that the window touches; what was only put down asks for nothing.
_CHARGES_UNDER_WAY = f"""
SELECT latest.currency, count(DISTINCT latest.payment_id), sum(order_amount_minor)::text,
       min(recorded_at)
FROM (SELECT DISTINCT ON (payment_id, order_id) payment_id, currency, psp, status, event_type,
             order_amount_minor, recorded_at
      FROM payments WHERE direction = 'in' AND {_WINDOW}
      ORDER BY payment_id, order_id, seq DESC) AS latest
WHERE latest.psp = %(psp)s AND latest.status IN ('created', 'processing', 'unknown')
  AND (latest.event_type <> 'created'
       OR (SELECT details ->> 'flow' FROM payments AS first
           WHERE first.payment_id = latest.payment_id AND first.seq = 1)
          IN ('direct', 'hosted'))
GROUP BY 1
"""
_REQUESTS_UNDER_WAY = """
SELECT asked.currency, count(*), sum(asked.amount_minor)::text, min(asked.recorded_at)
FROM payments AS asked
WHERE asked.direction = 'in' AND asked.psp = %(psp)s AND asked.event_type = '{request}'
  AND (%(since)s::timestamptz IS NULL OR asked.occurred_at >= %(since)s)
  AND NOT EXISTS (
    SELECT FROM payments AS outcome
    WHERE outcome.payment_id = asked.payment_id AND outcome.order_id = asked.order_id
      AND outcome.seq > asked.seq AND outcome.event_type IN ({outcomes}) AND {same})
GROUP BY 1
"""
_CAPTURES_UNDER_WAY = _REQUESTS_UNDER_WAY.format(
    request=EventType.CAPTURE_REQUESTED,
    outcomes="'captured', 'capture_failed', 'failed', 'cancelled', 'expired', 'honoured'",
    same="true",
)
_REFUNDS_UNDER_WAY = _REQUESTS_UNDER_WAY.format(
    request=EventType.REFUND_REQUESTED,
    outcomes="'refunded', 'refund_failed'",
    same="outcome.details ->> 'refund_id' = asked.details ->> 'refund_id'",
)
_UNDER_WAY: Sequence[tuple[str, str]] = (
    ("charges", _CHARGES_UNDER_WAY),
    ("captures", _CAPTURES_UNDER_WAY),
    ("refunds", _REFUNDS_UNDER_WAY),
)


class RecordedSide(Protocol):
    """Our side of a comparison: `Recorded`, or a substitute in tests."""

    def take_snapshot(self) -> tuple[str, datetime]:
        """End the snapshot before and begin a new one; return it and its time."""

    def leave_snapshot(self) -> None:
        """End the snapshot."""

    def money(self, since: datetime | None) -> Iterator[Amount]:
        """Stream what was recorded, of the payments with an event since a time (None: of all).

        Of such a payment it is everything, also what is older.
        """

    def money_of(self, payment_ids: Sequence[str]) -> Sequence[Amount]:
        """Return everything that was recorded of these payments."""

    def owners(self, references: Sequence[str]) -> Mapping[str, str]:
        """Return the payment of each of the PSP's references that `payments` knows."""

    def under_way(self, since: datetime | None) -> Sequence[UnderWay]:
        """Return what was asked of the PSP and has no outcome yet."""


class Recorded:
    """A session that reads one snapshot after another; a context manager."""

    def __init__(self, dsn: str, psp: str) -> None:
        self._psp = psp
        with postgres_errors():
            self._session = psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                fallback_application_name="purser books",
            )
            self._session.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def take_snapshot(self) -> tuple[str, datetime]:
        """End the snapshot before and begin a new one; return it and its time."""
        self.leave_snapshot()
        with postgres_errors():
            self._session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = self._rows("SELECT pg_current_snapshot()::text, now()", {})
        return rows[0][0], rows[0][1]

    def leave_snapshot(self) -> None:
        """End the snapshot."""
        with postgres_errors():
            self._session.rollback()

    def money(self, since: datetime | None) -> Iterator[Amount]:
        """Stream what was recorded, of the payments with an event since a time (None: of all).

        Of such a payment it is everything, also what is older.
        """
        sql = _ALL if since is None else _SINCE
        with postgres_errors(), self._session.cursor(name="money") as cursor:
            cursor.itersize = FETCH_ROWS
            cursor.execute(sql, {"psp": self._psp, "since": since})
            for row in cursor:
                yield _amount(row)

    def money_of(self, payment_ids: Sequence[str]) -> list[Amount]:
        """Return everything that was recorded of these payments."""
        found = self._rows(_OF_PAYMENTS, {"payments": [UUID(each) for each in payment_ids]})
        return [_amount(row) for row in found]

    def owners(self, references: Sequence[str]) -> dict[str, str]:
        """Return the payment of each of the PSP's references that `payments` knows."""
        return dict(self._rows(_OWNERS, {"references": list(references)}))

    def under_way(self, since: datetime | None) -> list[UnderWay]:
        """Return what was asked of the PSP and has no outcome yet."""
        return [
            UnderWay(
                what=what,
                currency=currency,
                count=count,
                amount_minor=int(amount),
                oldest_at=oldest_at,
            )
            for what, sql in _UNDER_WAY
            for currency, count, amount, oldest_at in self._rows(sql, {"since": since})
        ]

    def _rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with postgres_errors():
            asked = {"psp": self._psp, **parameters}
            return self._session.execute(sql, asked).fetchall()


def _amount(row: tuple[Any, ...]) -> Amount:
    payment_id, kind, currency, reference, amount_minor, occurred_at, recorded_at = row
    key = Key(payment_id, BookKind(kind), currency, reference)
    return Amount(key, int(amount_minor), occurred_at, recorded_at)

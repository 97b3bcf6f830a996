"""Build rows of the views from events in wire form, with one pure function per table.

Tables that take an event's values unchanged are built column by column, without creating rows: on
the hot path this is much cheaper. Ledger entries are computed event by event, as rows.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import astuple

from schemas.columns import Column, DayTexts, IdTexts, InstantTexts, Milliseconds
from schemas.envelope import WireEnvelope
from schemas.events import WireEvent
from schemas.views import BUYER_ORDERS, PAYOUTS, Columns, columns_of
from streams.fold.postings import postings

_DAY_LENGTH = len("2026-01-05")
_MINUTE_LENGTH = len("2026-01-05T12:30")


EventFields = Mapping[str, Sequence[Any]]
"""Field of `WireEvent` -> its values; an event has the same index in all. Empty without events."""


def event_fields(events: Sequence[WireEvent]) -> EventFields:
    """Return the events' fields as columns."""
    # All fields at once; reading them one by one takes twice as long.
    values = zip(*map(astuple, events), strict=True)
    return dict(zip(WireEvent.__struct_fields__, values, strict=bool(events)))


def payment_event_columns(
    fields: EventFields,
    envelopes: Sequence[WireEnvelope],
    partitions: Sequence[int],
    offsets: Sequence[int],
) -> Columns:
    """Return columns of `payment_events`: every event whole, and its position.

    Absent texts are empty. `fields` holds the events as PostgreSQL stores them, so that the two
    stores can be compared. The other values come from `envelopes`.
    """
    if not fields:
        return []
    sources = [envelope.source for envelope in envelopes]
    return [
        *_columns(fields).values(),
        array("q", partitions),
        array("q", offsets),
        array("q", [source.tx_id or 0 for source in sources]),
        array("q", [source.lsn or 0 for source in sources]),
        [envelope.op for envelope in envelopes],
        Milliseconds(array("q", [source.ts_ms for source in sources])),
    ]


def ledger_entry_rows(event: WireEvent) -> list[tuple[Any, ...]]:
    """Return rows of `ledger_entries`, one per posting; legs count from 0.

    The id, the day and the minute are text.

    Raises:
        BrokenInvariant: as `postings` does.
    """
    legs = postings(event)
    if not legs:
        return []
    day = event.occurred_at[:_DAY_LENGTH]
    recorded_minute = event.recorded_at[:_MINUTE_LENGTH] + ":00Z"
    return [
        (
            posting.account_type,
            posting.account_id,
            event.currency,
            day,
            event.payment_id,
            event.seq,
            leg,
            event.event_type,
            posting.amount_minor,
            recorded_minute,
        )
        for leg, posting in enumerate(legs)
    ]


def ledger_entry_columns(rows: Sequence[tuple[Any, ...]]) -> Columns:
    """Return columns of `ledger_entries` from the rows of `ledger_entry_rows`."""
    if not rows:
        return []
    account_types, account_ids, currencies, days, payment_ids, *rest, minutes = columns_of(rows)
    return [
        *(account_types, account_ids, currencies, DayTexts(days), IdTexts(payment_ids)),
        *rest,
        InstantTexts(minutes),
    ]


def buyer_order_columns(events: Sequence[WireEvent]) -> Columns:
    """Return columns of `buyer_orders`: the order's state after each of these pay-in events."""
    if not events:
        return []
    fields = _columns(event_fields(events))
    return [fields[_ORDER_FIELDS.get(column, column)] for column in BUYER_ORDERS.columns]


def payout_columns(events: Sequence[WireEvent]) -> Columns:
    """Return columns of `payouts`: the payout's state after each of these payout events."""
    if not events:
        return []
    fields = _columns(event_fields(events))
    return [fields[_PAYOUT_FIELDS.get(column, column)] for column in PAYOUTS.columns]


# Columns whose name differs from the event's field.
_ORDER_FIELDS = {"amount_minor": "order_amount_minor", "updated_at": "occurred_at"}
_PAYOUT_FIELDS = {
    "payout_id": "payment_id",
    "provider": "psp",
    "provider_reference": "psp_reference",
    "updated_at": "occurred_at",
}


def _columns(fields: EventFields) -> dict[str, Column]:
    """Return each field's column, in the order of the fields."""
    return {name: form(fields[name]) for name, form in _FORMS.items()}


def _integers(values: Iterable[int]) -> Column:
    return array("q", values)


def _texts(values: Iterable[str | None]) -> Column:
    return [value or "" for value in values]


def _as_it_is(values: Column) -> Column:
    return values


_FORMS: dict[str, Callable[[Sequence[Any]], Column]] = (
    dict.fromkeys(WireEvent.__struct_fields__, _as_it_is)
    | {
        name: _integers
        for name in WireEvent.__struct_fields__
        if name.endswith("_minor") or name in ("seq", "schema_version")
    }
    | {
        "payment_id": IdTexts,
        "buyer_id": _texts,
        "psp_reference": _texts,
        "occurred_at": InstantTexts,
        "recorded_at": InstantTexts,
    }
)
"""Field of an event -> converter of its values, in the order of the fields."""

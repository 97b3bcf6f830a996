"""Small histories for tests, as lines of the import format."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DAY = "2024-05-{:02}T12:00:00Z"


def an_order(order_id: str = "A", **fields: Any) -> dict[str, Any]:
    """An order of 1000, of which 100 commission and 50 logistics."""
    return {
        "order_id": order_id,
        "seller_id": "seller",
        "amount_minor": 1000,
        "commission_minor": 100,
        "logistics_fee_minor": 50,
    } | fields


def an_event(kind: str, day: int = 2, **fields: Any) -> dict[str, Any]:
    """Something that happened at noon of a day in May 2024."""
    return {"type": kind, "at": DAY.format(day)} | fields


def a_history(*events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A payment of orders A (1000) and B (501), created on the first of May 2024."""
    return {
        "idempotency_key": "history-of-1",
        "buyer_id": "buyer",
        "currency": "EUR",
        "method": "card",
        "created_at": DAY.format(1),
        "orders": [an_order("A"), an_order("B", amount_minor=501)],
        "events": list(events),
    } | fields


def a_life(key: str, *more: dict[str, Any]) -> dict[str, Any]:
    """A payment that was captured, released in part and refunded in part: ten rows, and `more`."""
    return a_history(
        an_event("authorized"),
        an_event("captured", 3),
        an_event("released", 4),
        an_event("refunded", 5, amount_minor=300),
        *more,
        idempotency_key=key,
    )


ROWS_OF_A_LIFE = 10


def write_lines(path: Path, histories: Iterable[dict[str, Any] | bytes]) -> Path:
    """Write histories, or bytes as they are, one a line."""
    lines = (
        history if isinstance(history, bytes) else json.dumps(history).encode()
        for history in histories
    )
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path

"""A history file of plain payments: one order each, five events from created to released."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

EVENTS_PER_PAYMENT = 5
SELLERS = 1_000
BUYERS = 50_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_SPREAD_SECONDS = 30 * 86_400


def write_history(file: Path, payments: int, seed: int) -> None:
    """Write `payments` lines; another seed gives other payments with other ids."""
    random = Random(seed)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(payments):
            lines.write(json.dumps(_payment(random, seed, number, payments)) + "\n")


def _payment(random: Random, seed: int, number: int, payments: int) -> dict[str, object]:
    created = _FIRST + timedelta(seconds=number * _SPREAD_SECONDS / payments)
    amount = 100 + int(random.expovariate(1 / 4_000))
    return {
        "idempotency_key": f"bench-{seed}-{number}",
        "buyer_id": f"buyer-{random.randrange(BUYERS)}",
        "currency": random.choice(("EUR", "EUR", "USD", "GBP")),
        "method": "card",
        "created_at": _at(created),
        "orders": [
            {
                "order_id": f"bench-{seed}-{number}-1",
                "seller_id": f"seller-{int(SELLERS * random.random() ** 2)}",
                "amount_minor": amount,
                "commission_minor": amount // 10,
                "logistics_fee_minor": amount // 20,
            }
        ],
        "events": [
            {"type": event, "at": _at(created + timedelta(seconds=after))}
            for event, after in (
                ("authorized", 1),
                ("captured", 2),
                ("shipped", 86_400),
                ("released", 14 * 86_400),
            )
        ],
    }


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")

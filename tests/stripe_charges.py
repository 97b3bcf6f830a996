"""Builders of charge requests, with defaults that Stripe takes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from connectors.charges import ChargeRequest

PAYMENT = UUID("8b1ed3cf-7b1a-4f3a-9c59-0b6f5a3f1c11")
CREATED_AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)

DIRECT = ChargeRequest(
    payment_id=PAYMENT,
    intent_seq=1,
    key=f"purser-{PAYMENT}-1",
    currency="EUR",
    amount_minor=2500,
    method="card",
    capture_manually=False,
    payment_token="pm_card_visa",
    hosted=False,
    return_url="https://shop.example/thanks",
    created_at=CREATED_AT,
)
PAGE = replace(DIRECT, hosted=True, payment_token=None)


def request(**changed: Any) -> ChargeRequest:
    """A direct charge of 25 euros, with other values where given."""
    return replace(DIRECT, **changed)

"""Identifiers: opaque, printable, and where we make them, made from what they identify.

A payment's id is a UUIDv5 of the caller's idempotency key, so the primary key of `payments` is what
keeps a payment from being submitted twice. Ids carry no personal data.
"""

import re
from typing import NewType
from uuid import NAMESPACE_URL, UUID, uuid5

from schemas.errors import InputError

PaymentId = NewType("PaymentId", UUID)
OrderId = NewType("OrderId", str)
SellerId = NewType("SellerId", str)
BuyerId = NewType("BuyerId", str)
IdempotencyKey = NewType("IdempotencyKey", str)

MAX_ID_LENGTH = 128
MAX_IDEMPOTENCY_KEY_LENGTH = 255
"""As long as Stripe takes (https://docs.stripe.com/api/idempotent_requests)."""

_NAMESPACE = uuid5(NAMESPACE_URL, "https://purser/payments")
_NOT_PRINTABLE_ASCII = re.compile(r"[^!-~]")


def payment_id(scope: str, idempotency_key: str) -> PaymentId:
    """The id of the payment (scope "payment") or payout (scope "payout") that a key asks for."""
    return PaymentId(uuid5(_NAMESPACE, f"{scope}:{idempotency_key}"))


def check_id(field: str, value: str, *, max_length: int = MAX_ID_LENGTH) -> str:
    """Return `value` when it is 1 to `max_length` printable ASCII characters without a space.

    Two ids that look alike to a person must be alike to a machine, hence no Unicode.

    Raises:
        InputError: naming `field`, the offending character and its position (from 1).
    """
    if not value:
        raise InputError(field, f"is empty; give 1 to {max_length} printable ASCII characters")
    if len(value) > max_length:
        raise InputError(field, f"has {len(value)} characters; at most {max_length} are allowed")
    if bad := _NOT_PRINTABLE_ASCII.search(value):
        raise InputError(
            field,
            f"has U+{ord(bad.group()):04X} at position {bad.start() + 1}; "
            "use printable ASCII characters without spaces",
        )
    return value

"""Identifiers: opaque and printable; those created by Purser are derived from what they identify.

A payment's id is a UUIDv5 of the caller's idempotency key, so the primary key of `payments`
prevents a payment from being submitted twice. Ids contain no personal data.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NewType
from uuid import NAMESPACE_URL, UUID, uuid5

from schemas.errors import InputError

PaymentId = NewType("PaymentId", UUID)
OrderId = NewType("OrderId", str)
SellerId = NewType("SellerId", str)
BuyerId = NewType("BuyerId", str)
IdempotencyKey = NewType("IdempotencyKey", str)

MAX_ID_LENGTH = 128
MAX_NAME_LENGTH = 64
"""Of a provider or a method of payment."""
MAX_IDEMPOTENCY_KEY_LENGTH = 255
"""Stripe's maximum (https://docs.stripe.com/api/idempotent_requests)."""

MAX_LENGTHS: Mapping[str, int] = MappingProxyType(
    {
        "order_id": MAX_ID_LENGTH,
        "seller_id": MAX_ID_LENGTH,
        "buyer_id": MAX_ID_LENGTH,
        "psp": MAX_NAME_LENGTH,
        "psp_reference": MAX_IDEMPOTENCY_KEY_LENGTH,
        "method": MAX_NAME_LENGTH,
        "idempotency_key": MAX_IDEMPOTENCY_KEY_LENGTH,
    }
)
"""Column of `payments` -> its most characters, all of them printable ASCII."""

_NAMESPACE = uuid5(NAMESPACE_URL, "https://purser/payments")
_CALLERS = uuid5(NAMESPACE_URL, "https://purser/callers")
_NOT_PRINTABLE_ASCII = re.compile(r"[^!-~]")


@lru_cache(maxsize=4096)  # a command is asked for its id a dozen times
def payment_id(scope: str, idempotency_key: str) -> PaymentId:
    """Return the id of the payment (scope "payment") or payout (scope "payout") of a key."""
    return PaymentId(uuid5(_NAMESPACE, f"{scope}:{idempotency_key}"))


def caller_key(caller: str, key: str, *scope: str) -> IdempotencyKey:
    """Return the key under which Purser keeps a caller's request: keys belong to their callers.

    `key` is what the caller gave, `scope` what it is about, such as a payment and an operation.
    """
    # As JSON, so that no caller can choose a name or a key that reads as another's.
    return IdempotencyKey(f"api:{uuid5(_CALLERS, json.dumps([caller, *scope, key]))}")


def check_id(field: str, value: str, *, max_length: int = MAX_ID_LENGTH) -> str:
    """Return `value` if it is 1 to `max_length` printable ASCII characters without spaces.

    Ids that look equal to a person must be equal to a machine, so Unicode is not allowed.

    Raises:
        InputError: names `field`, the offending character and its position (from 1).
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

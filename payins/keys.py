"""The keys and ids that payments in give to facts and requests: all derived, none random. Pure."""

from uuid import UUID

from connectors.charges import ChargeStatus
from schemas.ids import MAX_IDEMPOTENCY_KEY_LENGTH

REFUSED = "refused"
"""What is appended about an intent that the processor refuses to carry out."""
_LATE = "late"
_STEP = "payins"


def psp_key(payment_id: UUID, seq: int) -> str:
    """Return the idempotency key for the processor of the intent at `seq`.

    It is the same for every attempt of the intent, so a repeated call has its effect once.
    """
    return f"purser-{payment_id}-{seq}"


def release_key(payment_id: UUID, reference: str, status: ChargeStatus) -> str:
    """Return the key for the processor to end a charge of a payment that is over.

    A processor repeats a refusal under its key. What it refuses in one status it may do in another.
    """
    return f"purser-{payment_id}-release-{reference}-{status}"


def late_refund_id(payment_id: UUID, seq: int) -> str:
    """Return our id of the refund of late money, which the event at `seq` recorded."""
    return f"{payment_id}-{_LATE}-{seq}"


def late_refund_seq(payment_id: UUID, refund_id: str) -> int | None:
    """Return the event whose money a refund gives back; None for any other refund."""
    prefix = f"{payment_id}-{_LATE}-"
    seq = refund_id.removeprefix(prefix)
    return int(seq) if seq != refund_id and seq.isascii() and seq.isdecimal() else None


def evidence_key(psp: str, reference: str, what: object) -> str:
    """Return the key of a fact in a processor's books, such as `stripe:pi_1:captured:2500`."""
    key = f"{psp}:{reference}:{what}"
    assert len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH, key
    return key


def step_key(seq: int, what: str) -> str:
    """Return the key of what Purser itself appends about the intent at `seq` of a payment."""
    return f"{_STEP}:{seq}:{what}"


def is_refusal(key: str) -> bool:
    """Whether an event says that the processor refused the request: no bank was asked."""
    return key.startswith(f"{_STEP}:") and key.endswith(f":{REFUSED}")


def attempt_key(number: int) -> str:
    """Return the key of a payment's attempt number `number`: there is one of each number."""
    return f"payins:attempt:{number}"

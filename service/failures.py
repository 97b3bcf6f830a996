"""Why a payment failed, for clients: the code of the processor, in words, and what to do. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from connectors.charges import Failure
from connectors.stripe import declines as stripe_declines

GENERIC = "declined"
_RETRYABLE = "the payment was declined; another payment in the same way may work later"
_FINAL = "the payment was declined; ask the buyer for another way to pay"
_REFUSED = (
    "the payment service provider refuses the request; correct what the code names and create"
    " another payment"
)
_MESSAGES = {
    "authentication_required": "the buyer's bank asks the buyer to authenticate; create another"
    " payment with a return_url, and send the buyer to its next_action.url",
}
"""Code -> what to do, where it is something else."""

_READERS: Mapping[str, Callable[[str], Failure]] = {"stripe": stripe_declines.failure}
"""Processor -> what its codes mean."""


def failure_of(psp: str, code: str | None, *, refused: bool = False) -> dict[str, Any]:
    """`code`, `message` and `retryable` of a payment that has failed for this reason.

    `refused`: the processor took the request for wrong and asked no bank. A code that the buyer
    must not see, because it would warn a thief, is replaced.
    """
    if refused:
        return {"code": code or GENERIC, "message": _REFUSED, "retryable": False}
    read = _READERS.get(psp)
    if code is None or read is None:
        return {"code": code or GENERIC, "message": _FINAL, "retryable": False}
    failure = read(code)
    return {
        "code": GENERIC if failure.confidential else failure.code,
        "message": _MESSAGES.get(failure.code, _RETRYABLE if failure.retryable else _FINAL),
        "retryable": failure.retryable,
    }

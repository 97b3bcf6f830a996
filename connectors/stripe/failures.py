"""What a failed call to Stripe means: the one place where its errors become ours. Pure.

What decides is whether the request may have had an effect. The connector makes further attempts
under the same key for what `repeat` says; all attempts of a call together are as unknown as the
least known of them.

Source: https://docs.stripe.com/error-low-level and https://docs.stripe.com/api/errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from connectors.stripe.amounts import STRIPE
from connectors.stripe.requests import our_field
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused, Unreadable

RETRY_AFTER_SECONDS_MOST = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Stripe answered instead of an object: status, and the fields of its error object."""

    status: int
    error_type: str | None = None
    code: str | None = None
    parameter: str | None = None
    should_retry: bool | None = None
    """Stripe's own wish, from the header `Stripe-Should-Retry`; None if it has none."""
    retry_after_seconds: float | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a failed attempt means, and whether another under the same key makes sense now."""

    error: ProcessorError
    repeat: bool


CREDENTIALS: Mapping[int, str] = MappingProxyType(
    {
        401: "refuses the key; check PURSER_STRIPE_API_KEY",
        403: "refuses this call with this key; give the key the permissions that it needs",
    }
)
"""Status -> the problem. It is not the request that is wrong: it will pass with another key."""

ERROR_TYPES = frozenset({"api_error", "card_error", "idempotency_error", "invalid_request_error"})
"""Types of Stripe's error objects (https://docs.stripe.com/api/errors). An error without one of
them is of somebody on the way, such as a proxy, and says nothing about what Stripe did."""

KEY_IN_USE = "idempotency_key_in_use"
LOCKED = "lock_timeout"


def judge(answer: Answer) -> Verdict:
    """Judge an answer that is an error. A decline has been translated before, and is none."""
    code = answer.code or answer.error_type or f"http_{answer.status}"
    hint = f" (request {answer.request_id})" if answer.request_id else ""
    is_stripes = answer.error_type in ERROR_TYPES
    if is_stripes and answer.status in CREDENTIALS:
        return Verdict(
            error=NotSent(STRIPE, f"http_{answer.status}", CREDENTIALS[answer.status] + hint),
            repeat=False,
        )
    if answer.error_type == "idempotency_error" and answer.code != KEY_IN_USE:
        # Another request had its effect under this key, perhaps ours before an upgrade.
        problem = "the key was used for another request before; look the payment up" + hint
        return Verdict(error=OutcomeUnknown(STRIPE, "idempotency_error", problem), repeat=False)
    if answer.code == KEY_IN_USE or (answer.status == 409 and answer.code != LOCKED):
        # The other request under this key can be ours, given up on: this one had no effect,
        # but that one may have.
        problem = "a request under the same key is still being worked on" + hint
        return Verdict(error=OutcomeUnknown(STRIPE, code, problem), repeat=True)
    if answer.status == 429 or answer.code == LOCKED:
        problem = "takes no more requests at the moment" + hint
        wait = answer.retry_after_seconds
        return Verdict(
            error=NotSent(STRIPE, code, problem, retry_after_seconds=wait),
            repeat=answer.should_retry is not False,
        )
    if answer.status >= 500 or answer.status == 408:
        # A 500 is remembered under the key and would be repeated: then Stripe says so.
        problem = f"answered {answer.status}; look the payment up" + hint
        return Verdict(
            error=OutcomeUnknown(STRIPE, f"http_{answer.status}", problem),
            repeat=answer.should_retry is not False,
        )
    if is_stripes and 400 <= answer.status < 500:
        problem = f"refuses the request{hint}; Stripe's pages show why"
        error = ProcessorRefused(STRIPE, code, problem, field=our_field(answer.parameter))
        return Verdict(error=error, repeat=False)
    return Verdict(error=no_object(f"status {answer.status}" + hint), repeat=False)


def no_object(what: str) -> OutcomeUnknown:
    """Return the error of an answer that is none of Stripe's, such as a proxy's."""
    return OutcomeUnknown(
        STRIPE, "unreadable_answer", f"the answer has {what}; look it up at Stripe"
    )


def unreadable(what: str) -> Unreadable:
    """Describe an answer that is not what Stripe documents; nothing is guessed from it."""
    return Unreadable(
        STRIPE, "unreadable_answer", f"the answer has {what}; look the payment up at Stripe"
    )


NOT_CONNECTED: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "connect_timeout": ("no connection in time", True),
        "not_connected": ("no connection; is PURSER_STRIPE_API_BASE right?", True),
        "tls": ("no trusted connection: the certificate or TLS failed", False),
    }
)
"""Code of what failed before anything was sent -> (the problem, whether to repeat it)."""


def not_connected(code: str) -> Verdict:
    """Judge a failure before a byte of the request was sent."""
    problem, repeat = NOT_CONNECTED[code]
    return Verdict(error=NotSent(STRIPE, code, problem), repeat=repeat)


def no_answer(code: str) -> Verdict:
    """Judge a time-out or a lost connection after the request may have been sent."""
    problem = "no whole answer; the request may have had its effect"
    return Verdict(error=OutcomeUnknown(STRIPE, code, problem), repeat=True)


def after(earlier: ProcessorError | None, latest: ProcessorError) -> ProcessorError:
    """Return the error of several attempts under one key: once unknown, it stays unknown.

    An earlier attempt may still arrive after a later one was not sent. A refusal ends it: the
    earlier attempt was the same request and is refused as well.
    """
    if isinstance(earlier, OutcomeUnknown) and isinstance(latest, NotSent):
        return earlier
    return latest

"""What a failed call means: could it have had an effect, and is another attempt worth it?"""

from typing import Any

import pytest

from connectors.stripe.failures import Answer, after, judge, no_answer, not_connected
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused

OURS: dict[str, Any] = {"error_type": "invalid_request_error"}
USED = {"error_type": "idempotency_error"}
IN_USE = USED | {"code": "idempotency_key_in_use"}


@pytest.mark.parametrize(
    ("answer", "kind", "code", "repeat"),
    [
        (OURS | {"status": 400, "code": "amount_too_small"}, ProcessorRefused, "amount_too_small",
         False),
        ({"status": 400, "error_type": "api_error"}, ProcessorRefused, "api_error", False),
        (OURS | {"status": 402, "code": "card_declined"}, ProcessorRefused, "card_declined", False),
        (OURS | {"status": 404, "code": "resource_missing"}, ProcessorRefused, "resource_missing",
         False),
        (OURS | {"status": 401}, NotSent, "http_401", False),
        (OURS | {"status": 403}, NotSent, "http_403", False),
        # Not Stripe's: a proxy on the way, which says nothing about an earlier attempt.
        ({"status": 400}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 400, "error_type": "bad_gateway"}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 401}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 403}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 404}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 405}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 407}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 429, "code": "rate_limit"}, NotSent, "rate_limit", True),
        ({"status": 429}, NotSent, "http_429", True),
        ({"status": 429, "should_retry": False}, NotSent, "http_429", False),
        ({"status": 409, "code": "lock_timeout"}, NotSent, "lock_timeout", True),
        ({"status": 400, "code": "lock_timeout"}, NotSent, "lock_timeout", True),
        ({"status": 409}, OutcomeUnknown, "http_409", True),
        ({"status": 409} | IN_USE, OutcomeUnknown, "idempotency_key_in_use", True),
        ({"status": 400} | USED, OutcomeUnknown, "idempotency_error", False),
        ({"status": 500}, OutcomeUnknown, "http_500", True),
        ({"status": 500, "should_retry": False}, OutcomeUnknown, "http_500", False),
        ({"status": 500, "should_retry": True}, OutcomeUnknown, "http_500", True),
        ({"status": 502}, OutcomeUnknown, "http_502", True),
        ({"status": 503}, OutcomeUnknown, "http_503", True),
        ({"status": 504}, OutcomeUnknown, "http_504", True),
        ({"status": 408}, OutcomeUnknown, "http_408", True),
        ({"status": 200}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 302}, OutcomeUnknown, "unreadable_answer", False),
        ({"status": 0}, OutcomeUnknown, "unreadable_answer", False),
    ],
)  # fmt: skip
def test_an_answer_that_is_an_error(
    answer: dict[str, Any], kind: type[ProcessorError], code: str, repeat: bool
) -> None:
    verdict = judge(Answer(**answer))
    assert (type(verdict.error), verdict.error.code, verdict.repeat) == (kind, code, repeat)


def test_a_refusal_names_our_field_and_stripes_request() -> None:
    error = judge(
        Answer(**OURS, status=400, code="amount_too_large", parameter="amount", request_id="req_7")
    ).error
    assert isinstance(error, ProcessorRefused)
    assert error.field == "amount_minor"
    assert "req_7" in str(error)


def test_a_wish_to_wait_goes_with_the_error() -> None:
    error = judge(Answer(status=429, retry_after_seconds=7.0)).error
    assert isinstance(error, NotSent)
    assert error.retry_after_seconds == 7.0


REFUSED = judge(Answer(**OURS, status=400)).error
PROXY = judge(Answer(status=400)).error
BUSY = judge(Answer(status=429)).error
BROKEN = judge(Answer(status=500)).error
LATE = no_answer("answer_timeout").error
AWAY = not_connected("not_connected").error


@pytest.mark.parametrize(
    ("earlier", "latest", "expected"),
    [
        (None, AWAY, AWAY),
        (BUSY, AWAY, AWAY),
        (AWAY, LATE, LATE),
        (LATE, AWAY, LATE),  # the earlier one may have arrived
        (BROKEN, BUSY, BROKEN),
        (BROKEN, LATE, LATE),
        (LATE, REFUSED, REFUSED),
        (LATE, PROXY, PROXY),
        (REFUSED, PROXY, PROXY),
    ],
)
def test_once_unknown_the_outcome_stays_unknown(
    earlier: ProcessorError | None, latest: ProcessorError, expected: ProcessorError
) -> None:
    assert after(earlier, latest) is expected

"""Why a payment failed, in words: what they ask for is what can be done about the code."""

import pytest

from service.failures import failure_of


@pytest.mark.parametrize(
    ("code", "shown", "retryable", "asks_for"),
    [
        ("insufficient_funds", "insufficient_funds", True, "may work later"),
        ("expired_card", "expired_card", False, "another way to pay"),
        ("stolen_card", "declined", False, "another way to pay"),
        (None, "declined", False, "another way to pay"),
        ("authentication_required", "authentication_required", False, "return_url"),
    ],
)
def test_what_to_do(code: str | None, shown: str, retryable: bool, asks_for: str) -> None:
    found = failure_of("stripe", code)
    assert (found["code"], found["retryable"]) == (shown, retryable)
    assert asks_for in found["message"]

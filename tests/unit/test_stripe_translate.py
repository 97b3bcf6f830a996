"""Stripe's objects become our records: one row per shape, the last column what comes of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import stripe

from connectors.charges import ChargeStatus, DisputeStatus, Failure, RefundStatus
from connectors.stripe import objects, translate
from schemas.errors import OutcomeUnknown
from tests.stripe_objects import (
    AT,
    Json,
    balance_transaction,
    card_error,
    charge,
    declined,
    dispute,
    intent,
    listed,
    page,
    refund,
)

HOSTED = {"metadata": {"purser_flow": "hosted"}}
FAILED_ONCE = {"last_payment_error": card_error()}


@pytest.mark.parametrize(
    ("status", "changed", "expected"),
    [
        ("requires_confirmation", {}, ChargeStatus.CREATED),
        ("requires_action", {}, ChargeStatus.ACTION_REQUIRED),
        ("processing", {}, ChargeStatus.PROCESSING),
        ("requires_capture", {}, ChargeStatus.AUTHORIZED),
        ("succeeded", {}, ChargeStatus.CAPTURED),
        ("canceled", {}, ChargeStatus.CANCELLED),
        ("canceled", {"cancellation_reason": "abandoned"}, ChargeStatus.CANCELLED),
        ("canceled", {"cancellation_reason": "requested_by_customer"}, ChargeStatus.CANCELLED),
        ("canceled", {"cancellation_reason": "expired"}, ChargeStatus.EXPIRED),
        ("canceled", {"cancellation_reason": "automatic"}, ChargeStatus.EXPIRED),
        ("requires_payment_method", {}, ChargeStatus.CREATED),
        ("requires_payment_method", FAILED_ONCE, ChargeStatus.FAILED),
        # On Stripe's page the buyer can try another card.
        ("requires_payment_method", HOSTED, ChargeStatus.ACTION_REQUIRED),
        ("requires_payment_method", FAILED_ONCE | HOSTED, ChargeStatus.ACTION_REQUIRED),
    ],
)
def test_the_status_of_an_intent(status: str, changed: Json, expected: ChargeStatus) -> None:
    assert translate.charge(intent(status, **changed)).status is expected


@pytest.mark.parametrize(
    ("status", "changed", "authorized", "captured"),
    [
        ("succeeded", {}, 2500, 2500),
        ("requires_capture", {}, 2500, 0),
        ("processing", {}, 0, 0),
        ("canceled", {}, 0, 0),
        # A partial authorization: 1,500 of 2,500.
        ("requires_capture", {"amount_capturable": 1500}, 1500, 0),
        # A first capture of several.
        ("requires_capture", {"amount_capturable": 1500, "amount_received": 1000}, 2500, 1000),
        # The last capture took less and released the rest: the charge knows what was reserved.
        ("succeeded", {"amount_received": 1000, "latest_charge": "of 2500"}, 2500, 1000),
        ("succeeded", {"amount_received": 1000}, 1000, 1000),
        # More was taken than reserved, as a tip is.
        ("succeeded", {"amount_received": 2600, "latest_charge": "of 2500"}, 2600, 2600),
    ],
)
def test_what_is_authorized_and_captured(
    status: str, changed: Json, authorized: int, captured: int
) -> None:
    if changed.get("latest_charge") == "of 2500":
        card = {"card": {"amount_authorized": 2500}, "type": "card"}
        changed = changed | {"latest_charge": charge(payment_method_details=card)}
    found = translate.charge(intent(status, **changed))
    assert (found.amount_minor, found.authorized_minor, found.captured_minor) == (
        2500,
        authorized,
        captured,
    )


@pytest.mark.parametrize(
    ("multicapture", "expected"),
    [({"status": "available"}, True), ({"status": "unavailable"}, False), (None, False)],
)
def test_whether_the_card_allows_several_captures(
    multicapture: Json | None, expected: bool
) -> None:
    card = {"card": {"amount_authorized": 2500, "multicapture": multicapture}, "type": "card"}
    held = intent("requires_capture", latest_charge=charge(payment_method_details=card))
    assert translate.charge(held).captures_more is expected


def test_a_charge_that_is_not_a_cards_is_captured_once() -> None:
    assert not translate.charge(intent("requires_capture")).captures_more


@pytest.mark.parametrize(
    ("currency", "theirs", "ours"),
    [("jpy", 2500, 2500), ("kwd", 25_000, 25_000), ("isk", 2500, 25), ("mga", 25, 2500)],
)
def test_amounts_are_in_our_minor_units(currency: str, theirs: int, ours: int) -> None:
    found = translate.charge(intent(currency=currency, amount=theirs, amount_received=theirs))
    assert (found.currency, found.captured_minor) == (currency.upper(), ours)


@pytest.mark.parametrize(
    ("action", "url"),
    [
        (None, None),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": "https://h.test/3ds"}}, "https://h.test/3ds"),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": None}}, None),
        ({"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}, None),
        ({"type": "something_new"}, None),
        (
            {
                "type": "verify_with_microdeposits",
                "verify_with_microdeposits": {"hosted_verification_url": "https://h.test/v"},
            },
            "https://h.test/v",
        ),
    ],
)  # fmt: skip
def test_the_address_of_the_next_action(action: Json | None, url: str | None) -> None:
    assert translate.charge(intent("requires_action", next_action=action)).action_url == url


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({}, Failure(code="insufficient_funds", retryable=True)),
        ({"decline_code": None}, Failure(code="generic_decline", retryable=True)),
        (
            {"decline_code": None, "code": "expired_card"},
            Failure(code="expired_card", retryable=False),
        ),
        (
            {"decline_code": "stolen_card"},
            Failure(code="stolen_card", retryable=False, confidential=True),
        ),
        ({"advice_code": "do_not_try_again"}, Failure(code="insufficient_funds", retryable=False)),
        (
            {"decline_code": "lost_card", "advice_code": "try_again_later"},
            Failure(code="lost_card", retryable=True, confidential=True),
        ),
        (
            {"decline_code": "a_code_of_tomorrow"},
            Failure(code="a_code_of_tomorrow", retryable=False),
        ),
        (
            {"decline_code": None, "code": "payment_intent_authentication_failure"},
            Failure(code="payment_intent_authentication_failure", retryable=False),
        ),
    ],
)
def test_why_a_charge_failed(error: Json, expected: Failure) -> None:
    body: Any = declined(**error)["error"]
    found = translate.declined(body)
    assert found is not None
    assert (found.status, found.failure) == (ChargeStatus.FAILED, expected)
    inside = translate.charge(body["payment_intent"])  # as a later look at it finds
    assert inside == found


def test_a_decline_without_a_charge_is_none() -> None:
    assert translate.declined(card_error()) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", RefundStatus.PENDING),
        ("requires_action", RefundStatus.PENDING),
        ("succeeded", RefundStatus.SUCCEEDED),
        ("failed", RefundStatus.FAILED),
        ("canceled", RefundStatus.FAILED),
    ],
)
def test_the_status_of_a_refund(status: str, expected: RefundStatus) -> None:
    whole = charge(refunds=listed("/", refund(2), refund(1, status)))
    first, second = translate.charge(intent(latest_charge=whole)).refunds
    assert (first.reference, first.refund_id, first.status) == ("re_1", "refund-1", expected)
    assert (second.reference, second.amount_minor) == ("re_2", 500)


def test_a_refund_from_stripes_pages_has_no_id_of_ours() -> None:
    whole = charge(refunds=listed("/", refund(metadata={}, failure_reason="lost_or_stolen_card")))
    (found,) = translate.charge(intent(latest_charge=whole)).refunds
    assert (found.refund_id, found.reason) == (None, "lost_or_stolen_card")


@pytest.mark.parametrize(
    ("status", "changed", "expected"),
    [
        ("needs_response", {}, DisputeStatus.OPEN),
        ("under_review", {}, DisputeStatus.OPEN),
        ("appeal_needs_response", {}, DisputeStatus.OPEN),
        ("appeal_under_review", {}, DisputeStatus.OPEN),
        ("won", {}, DisputeStatus.WON),
        ("lost", {}, DisputeStatus.LOST),
        ("prevented", {}, DisputeStatus.LOST),
        ("prevented", {"balance_transactions": []}, None),
        ("warning_needs_response", {}, None),
        ("warning_under_review", {}, None),
        ("warning_closed", {"balance_transactions": []}, None),
    ],
)
def test_the_status_of_a_dispute(
    status: str, changed: Json, expected: DisputeStatus | None
) -> None:
    found = translate.charge(intent(), [dispute(status, **changed)]).disputes
    assert [each.status for each in found] == ([expected] if expected else [])


def test_a_won_dispute_was_decided_when_the_money_came_back() -> None:
    lines = [{"amount": -2500, "created": AT + 500}, {"amount": 2500, "created": AT + 900}]
    (found,) = translate.charge(intent(), [dispute("won", balance_transactions=lines)]).disputes
    assert found.decided_at is not None
    assert found.decided_at.timestamp() == AT + 900
    assert (found.opened_at.timestamp(), found.reason) == (AT + 490, "fraudulent")


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda: translate.charge(intent("requires_review")), "a charge"),
        (lambda: translate.session(page("paused")), "a page"),
        (lambda: translate.charge(intent(), [dispute("escalated")]), "a dispute"),
        (
            lambda: translate.charge(
                intent(latest_charge=charge(refunds=listed("/", refund(1, "reversed"))))
            ),
            "a refund",
        ),
    ],
)
def test_a_status_that_is_not_known_is_never_guessed(read: Any, what: str) -> None:
    with pytest.raises(OutcomeUnknown, match=what) as caught:
        read()
    assert caught.value.code == "unknown_status"


SDK = Path(stripe.__file__).parent


@pytest.mark.parametrize(
    ("file", "field", "table"),
    [
        ("_payment_intent.py", "status", translate.INTENT_STATUSES),
        ("_dispute.py", "status", translate.DISPUTE_STATUSES),
        ("checkout/_session.py", "status", translate.SESSION_STATUSES),
    ],
)
def test_every_status_of_the_sdk_is_in_the_table(file: str, field: str, table: Json) -> None:
    """An update of the SDK that brings a new status fails here first."""
    declared = re.search(rf'^    {field}: (.+?)\n    """', (SDK / file).read_text(), re.M | re.S)
    assert declared is not None
    assert set(re.findall(r'"([a-z_]+)"', declared[1])) == set(table)


def test_the_version_is_the_one_that_the_sdk_describes() -> None:
    assert f'"{translate.API_VERSION}"' in (SDK / "_api_version.py").read_text()


def test_a_page_that_is_open() -> None:
    found = translate.session(page())
    assert found.status is ChargeStatus.ACTION_REQUIRED
    assert (found.reference, found.amount_minor, found.intent_seq) == ("cs_test_a1", 2500, 1)
    assert found.action_url == "https://checkout.stripe.com/c/pay/cs_test_a1"


def test_a_page_that_has_expired() -> None:
    found = translate.session(page("expired"))
    assert (found.status, found.action_url) == (ChargeStatus.EXPIRED, None)
    assert found.at.timestamp() == AT + 86_400


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None},
        {"id": ""},
        {"id": "a b"},
        {"id": "x" * 256},
        {"status": 3},
        {"amount": "2500"},
        {"amount": True},
        {"amount": 2.5},
        {"currency": "xxq"},
        {"currency": None},
        {"created": -1},
        {"created": 10**14},
        {"amount_received": None},
        {"latest_charge": 7},
        {"latest_charge": {"created": AT, "refunds": {"data": [3]}}},
        {"latest_charge": {"created": AT, "refunds": {"data": None}}},
        {"currency": "isk", "amount": 2550},
    ],
)
def test_a_shape_that_is_not_stripes_is_no_guess(changed: Json) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        translate.charge(intent(**changed))
    assert caught.value.code == "unreadable_answer"


@pytest.mark.parametrize(
    "metadata",
    [{}, None, {"purser_payment_id": "42"}, {"purser_payment_id": 7, "purser_intent_seq": "-1"}],
)
def test_a_charge_of_somebody_else_has_no_payment(metadata: Json | None) -> None:
    found = translate.charge(intent(metadata=metadata))
    assert (found.payment_id, found.intent_seq) == (None, None)


def test_a_line_of_the_books() -> None:
    line = translate.book_entry(balance_transaction())
    assert line.net_minor == line.amount_minor - line.fee_minor == 2397
    assert (line.currency, line.entry_type, line.source) == ("EUR", "charge", "ch_3PqA")


def test_an_id_is_read_expanded_or_not() -> None:
    assert objects.id_of({"source": {"id": "ch_1"}}, "source") == "ch_1"
    assert objects.id_of({"source": "ch_1"}, "source") == "ch_1"
    assert objects.id_of({"source": None}, "source") is None

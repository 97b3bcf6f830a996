"""The connector pays at our simulator of Stripe: every way of paying, to its end."""

from dataclasses import replace
from typing import Any

import pytest

from connectors.charges import Charge, ChargeStatus, DisputeStatus, RefundStatus
from connectors.stripe.processor import StripeProcessor
from schemas.errors import ProcessorRefused
from tests.stripe_simulator import Simulator

VISA = "4242424242424242"
NO_FUNDS = "4000000000009995"
NO_FUNDS_TOKEN = "pm_card_chargeDeclinedInsufficientFunds"


def charged(simulator: Simulator, **changed: Any) -> Charge:
    asked = simulator.charge(**changed)
    found = simulator.use(lambda stripe: stripe.charge(asked))
    assert (found.payment_id, found.intent_seq) == (asked.payment_id, 1)
    assert (found.currency, found.amount_minor) == (asked.currency, asked.amount_minor)
    return found


def now(simulator: Simulator, charge: Charge) -> Charge:
    return simulator.use(lambda stripe: stripe.retrieve(charge.reference))


@pytest.mark.parametrize(
    ("token", "status", "code", "retryable"),
    [
        ("pm_card_visa", ChargeStatus.CAPTURED, None, None),
        ("pm_card_visa_debit", ChargeStatus.CAPTURED, None, None),
        ("pm_card_chargeDeclined", ChargeStatus.FAILED, "generic_decline", True),
        (NO_FUNDS_TOKEN, ChargeStatus.FAILED, "insufficient_funds", True),
        ("pm_card_chargeDeclinedLostCard", ChargeStatus.FAILED, "lost_card", False),
        ("pm_card_chargeDeclinedExpiredCard", ChargeStatus.FAILED, "expired_card", False),
        ("pm_card_chargeDeclinedProcessingError", ChargeStatus.FAILED, "processing_error", True),
        ("pm_card_authenticationRequired", ChargeStatus.ACTION_REQUIRED, None, None),
    ],
)  # fmt: skip
def test_a_card_is_charged_or_declined_in_one_call(
    simulator: Simulator,
    token: str,
    status: ChargeStatus,
    code: str | None,
    retryable: bool | None,
) -> None:
    asked = simulator.charge(payment_token=token)

    async def charge(stripe: StripeProcessor) -> tuple[Charge, int]:
        return await stripe.charge(asked), stripe.client.calls

    found, calls = simulator.use(charge)
    assert (found.status, calls) == (status, 1)
    assert (found.failure.code if found.failure else None) == code
    assert (found.failure.retryable if found.failure else None) == retryable
    assert found == now(simulator, found)


def test_a_buyer_who_has_nowhere_to_come_back_to_is_declined(simulator: Simulator) -> None:
    """Nobody could be sent to authenticate, so the payment ends instead of waiting for it."""
    ended = charged(simulator, payment_token="pm_card_authenticationRequired", return_url=None)
    assert (ended.status, ended.action_url) == (ChargeStatus.FAILED, None)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.retryable) == ("authentication_required", False)
    assert charged(simulator, return_url=None).status is ChargeStatus.CAPTURED


@pytest.mark.parametrize(
    ("currency", "amount_minor"),
    [
        ("JPY", 2500),
        ("KWD", 12_340),
        ("ISK", 2500),
        ("UGX", 5000),
        ("HUF", 250_000),
        ("MGA", 500_000),
    ],
)
def test_currencies_of_other_units(simulator: Simulator, currency: str, amount_minor: int) -> None:
    found = charged(simulator, currency=currency, amount_minor=amount_minor)
    assert found.captured_minor == amount_minor


@pytest.mark.parametrize(
    ("decision", "status", "code"),
    [
        ("complete", ChargeStatus.CAPTURED, None),
        ("fail", ChargeStatus.FAILED, "payment_intent_authentication_failure"),
    ],
)
def test_3d_secure(
    simulator: Simulator, decision: str, status: ChargeStatus, code: str | None
) -> None:
    waiting = charged(simulator, payment_token="pm_card_authenticationRequired")
    assert simulator.press(waiting.action_url, decision=decision) == 303
    found = now(simulator, waiting)
    assert found.status is status
    assert (found.failure.code if found.failure else None) == code


@pytest.mark.parametrize(
    ("token", "currency", "status", "code"),
    [
        ("pm_usBankAccount_success", "USD", ChargeStatus.CAPTURED, None),
        ("pm_usBankAccount_accountClosed", "USD", ChargeStatus.FAILED, "account_closed"),
        ("pm_usBankAccount_insufficientFunds", "USD", ChargeStatus.FAILED, "insufficient_funds"),
        ("pm_sepaDebit", "EUR", ChargeStatus.CAPTURED, None),
    ],
)
def test_a_bank_transfer_takes_days(
    simulator: Simulator, token: str, currency: str, status: ChargeStatus, code: str | None
) -> None:
    asked = {"method": "bank_transfer", "payment_token": token, "currency": currency}
    waiting = charged(simulator, **asked)
    assert waiting.status is ChargeStatus.PROCESSING
    simulator.advance(days=1)
    assert now(simulator, waiting).status is ChargeStatus.PROCESSING
    simulator.advance(days=6)
    found = now(simulator, waiting)
    assert found.status is status
    assert (found.failure.code if found.failure else None) == code


def captured(simulator: Simulator, charge: Charge, amount: int, *, final: bool) -> Charge:
    return simulator.use(
        lambda stripe: stripe.capture(
            charge.reference,
            currency="EUR",
            amount_minor=amount,
            key=f"c-{amount}-{charge.reference}",
            final=final,
        )
    )


def test_an_authorization_is_captured_in_parts(simulator: Simulator) -> None:
    held = charged(simulator, capture_manually=True)
    assert (held.status, held.authorized_minor, held.captured_minor) == (
        ChargeStatus.AUTHORIZED, 2500, 0,
    )  # fmt: skip
    assert now(simulator, held).captures_more
    part = captured(simulator, held, 1000, final=False)
    assert (part.status, part.authorized_minor, part.captured_minor) == (
        ChargeStatus.AUTHORIZED, 2500, 1000,
    )  # fmt: skip
    whole = captured(simulator, held, 500, final=True)
    assert (whole.status, whole.authorized_minor, whole.captured_minor) == (
        ChargeStatus.CAPTURED, 2500, 1500,
    )  # fmt: skip
    with pytest.raises(ProcessorRefused):
        captured(simulator, held, 400, final=True)


def test_a_card_that_allows_one_capture_says_so(simulator: Simulator) -> None:
    made = simulator.api(
        "POST",
        "payment_intents",
        **{
            "amount": 2500,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "payment_method_types[]": "card",
            "confirm": "true",
            "capture_method": "manual",
        },
    )
    held = simulator.use(lambda stripe: stripe.retrieve(made["id"]))
    assert (held.status, held.captures_more) == (ChargeStatus.AUTHORIZED, False)
    with pytest.raises(ProcessorRefused):
        captured(simulator, held, 1000, final=False)


def test_more_than_is_held_is_not_captured(simulator: Simulator) -> None:
    held = charged(simulator, capture_manually=True)
    with pytest.raises(ProcessorRefused) as caught:
        captured(simulator, held, 2501, final=True)
    assert caught.value.field == "amount_minor"


def cancelled(simulator: Simulator, charge: Charge, number: int) -> Charge:
    key = f"cancel-{number}-{charge.reference}"
    return simulator.use(lambda stripe: stripe.cancel(charge.reference, key=key))


def test_an_authorization_is_given_back_once(simulator: Simulator) -> None:
    held = charged(simulator, capture_manually=True)
    for number in (1, 2):
        found = cancelled(simulator, held, number)
        assert (found.status, found.authorized_minor) == (ChargeStatus.CANCELLED, 0)


def test_what_a_part_has_left_is_given_back(simulator: Simulator) -> None:
    held = charged(simulator, capture_manually=True)
    captured(simulator, held, 1000, final=False)
    found = cancelled(simulator, held, 1)
    assert (found.status, found.captured_minor) == (ChargeStatus.CAPTURED, 1000)


def test_an_authorization_expires(simulator: Simulator) -> None:
    held = charged(simulator, capture_manually=True)
    simulator.advance(days=8)
    assert now(simulator, held).status is ChargeStatus.EXPIRED


def test_money_that_was_taken_is_not_cancelled(simulator: Simulator) -> None:
    taken = charged(simulator)
    with pytest.raises(ProcessorRefused):
        simulator.use(lambda stripe: stripe.cancel(taken.reference, key=f"k-{taken.reference}"))


def test_a_partial_authorization(simulator: Simulator) -> None:
    asked = simulator.charge(capture_manually=True, payment_token="pm_card_partialAuthorization")
    held = simulator.use(lambda stripe: stripe.charge(asked), partial_authorization=True)
    assert held.status is ChargeStatus.AUTHORIZED
    assert (held.amount_minor, held.authorized_minor) == (2500, 1250)


def refunded(simulator: Simulator, charge: Charge, amount: int, name: str) -> Charge:
    return simulator.use(
        lambda stripe: stripe.refund(
            charge.reference, currency=charge.currency, amount_minor=amount,
            refund_id=name, key=f"{name}-{charge.reference}",
        )
    )  # fmt: skip


def test_refunds_in_parts_and_no_more_than_was_taken(simulator: Simulator) -> None:
    taken = charged(simulator)
    refunded(simulator, taken, 1000, "r-1")
    found = refunded(simulator, taken, 500, "r-2")
    assert [(each.refund_id, each.amount_minor, each.status) for each in found.refunds] == [
        ("r-1", 1000, RefundStatus.SUCCEEDED),
        ("r-2", 500, RefundStatus.SUCCEEDED),
    ]
    assert (found.status, found.captured_minor) == (ChargeStatus.CAPTURED, 2500)
    with pytest.raises(ProcessorRefused) as caught:
        refunded(simulator, taken, 1001, "r-3")
    assert caught.value.field == "amount_minor"
    again = refunded(simulator, taken, 1000, "r-1")  # the first answer, and no third refund
    assert [each.refund_id for each in again.refunds] == ["r-1"]
    assert now(simulator, taken).refunds == found.refunds


def test_more_refunds_than_fit_on_a_page(simulator: Simulator) -> None:
    taken = charged(simulator)
    for number in range(12):
        refunded(simulator, taken, 100, f"r-{number}")
    assert len(now(simulator, taken).refunds) == 12


@pytest.mark.parametrize(
    ("token", "first", "last"),
    [
        ("pm_card_pendingRefund", RefundStatus.PENDING, RefundStatus.SUCCEEDED),
        ("pm_card_refundFail", RefundStatus.SUCCEEDED, RefundStatus.FAILED),
    ],
)
def test_a_refund_changes_its_mind(
    simulator: Simulator, token: str, first: RefundStatus, last: RefundStatus
) -> None:
    taken = charged(simulator, payment_token=token)
    assert refunded(simulator, taken, 500, "r-1").refunds[0].status is first
    simulator.advance(seconds=10)
    assert now(simulator, taken).refunds[0].status is last


@pytest.mark.parametrize(
    ("evidence", "status"),
    [("winning_evidence", DisputeStatus.WON), ("losing_evidence", DisputeStatus.LOST)],
)
def test_a_dispute(simulator: Simulator, evidence: str, status: DisputeStatus) -> None:
    taken = charged(simulator, payment_token="pm_card_createDispute")
    simulator.advance(seconds=2)
    (opened,) = now(simulator, taken).disputes
    assert (opened.status, opened.amount_minor) == (DisputeStatus.OPEN, 2500)
    simulator.api(
        "POST",
        f"disputes/{opened.reference}",
        **{"evidence[uncategorized_text]": evidence, "submit": "true"},
    )
    simulator.advance(seconds=2)
    (decided,) = now(simulator, taken).disputes
    assert decided.status is status


def test_an_inquiry_is_no_dispute(simulator: Simulator) -> None:
    taken = charged(simulator, payment_token="pm_card_createDisputeInquiry")
    simulator.advance(seconds=2)
    assert now(simulator, taken).disputes == ()


def page(simulator: Simulator, **changed: Any) -> Charge:
    found = charged(simulator, hosted=True, payment_token=None, **changed)
    assert found.status is ChargeStatus.ACTION_REQUIRED
    assert found.reference.startswith("cs_")
    return found


def test_a_buyer_pays_on_stripes_page_with_the_second_card(simulator: Simulator) -> None:
    waiting = page(simulator)
    assert simulator.press(waiting.action_url, card_number=NO_FUNDS) == 402
    # A card that failed there is no end: the buyer can take another.
    assert now(simulator, waiting).status is ChargeStatus.ACTION_REQUIRED
    looked = simulator.use(lambda s: s.find(_payment(waiting), simulator.now()))
    assert [each.status for each in looked.charges] == [ChargeStatus.ACTION_REQUIRED]
    assert simulator.press(waiting.action_url, card_number=VISA) == 303
    found = now(simulator, waiting)
    assert (found.status, found.captured_minor) == (ChargeStatus.CAPTURED, 2500)
    assert found.reference.startswith("pi_")
    assert found == now(simulator, found)


def test_a_page_with_an_authorization(simulator: Simulator) -> None:
    waiting = page(simulator, capture_manually=True)
    simulator.press(waiting.action_url, card_number=VISA)
    held = now(simulator, waiting)
    assert held.status is ChargeStatus.AUTHORIZED
    assert captured(simulator, held, 2500, final=True).status is ChargeStatus.CAPTURED


@pytest.mark.parametrize("tried", [False, True])
def test_a_page_is_ended(simulator: Simulator, tried: bool) -> None:
    waiting = page(simulator)
    if tried:
        simulator.press(waiting.action_url, card_number=NO_FUNDS)
    for number in (1, 2):
        found = cancelled(simulator, waiting, number)
        assert found.status is ChargeStatus.EXPIRED
    assert simulator.press(waiting.action_url, card_number=VISA) == 410


def test_an_intent_of_a_page_is_ended_with_its_page(simulator: Simulator) -> None:
    waiting = page(simulator)
    simulator.press(waiting.action_url, card_number=NO_FUNDS)
    (known,) = simulator.use(lambda s: s.find(_payment(waiting), simulator.now())).charges
    assert known.reference.startswith("pi_")
    found = simulator.use(lambda s: s.cancel(known.reference, key=f"k-{known.reference}"))
    assert found.status in (ChargeStatus.EXPIRED, ChargeStatus.CANCELLED)
    assert simulator.press(waiting.action_url, card_number=VISA) == 410


def test_a_page_that_nobody_pays_on_expires(simulator: Simulator) -> None:
    waiting = page(simulator)
    simulator.advance(hours=25)
    assert now(simulator, waiting).status is ChargeStatus.EXPIRED


def test_a_charge_that_is_not_there_is_refused_by_name(simulator: Simulator) -> None:
    with pytest.raises(ProcessorRefused) as caught:
        simulator.use(lambda stripe: stripe.retrieve("pi_nothing"))
    assert caught.value.code == "resource_missing"


def test_a_token_that_is_none_is_refused_by_our_field(simulator: Simulator) -> None:
    asked = replace(simulator.charge(), payment_token="pm_nothing")
    with pytest.raises(ProcessorRefused) as caught:
        simulator.use(lambda stripe: stripe.charge(asked))
    assert caught.value.field == "payment_token"
    assert "pm_nothing" not in str(caught.value)


def _payment(charge: Charge) -> Any:
    assert charge.payment_id is not None
    return charge.payment_id

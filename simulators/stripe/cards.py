"""Stripe's test cards and what each of them does, as data. Pure.

Tokens and numbers mean what they mean at Stripe (https://docs.stripe.com/testing). A card is found
by its token (`pm_card_visa`, `tok_visa`) or by its number on the hosted page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from simulators.stripe.errors import StripeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Why an issuer or Stripe declines: error code, decline code, and what is told."""

    code: str
    decline_code: str
    message: str
    network_status: str = "declined_by_network"
    outcome: str = "issuer_declined"


def _declined(decline_code: str, message: str = "Your card was declined.") -> Decline:
    return Decline(code="card_declined", decline_code=decline_code, message=message)


GENERIC = _declined("generic_decline")
INSUFFICIENT_FUNDS = _declined("insufficient_funds", "Your card has insufficient funds.")
LOST = _declined("lost_card")
STOLEN = _declined("stolen_card")
VELOCITY = _declined(
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount"
    " limit.",
)
FRAUDULENT = Decline(
    code="card_declined",
    decline_code="fraudulent",
    message="Your card was declined.",
    network_status="not_sent_to_network",
    outcome="blocked",
)
EXPIRED = Decline(
    code="expired_card", decline_code="expired_card", message="Your card has expired."
)
INCORRECT_CVC = Decline(
    code="incorrect_cvc",
    decline_code="incorrect_cvc",
    message="Your card's security code is incorrect.",
)
PROCESSING_ERROR = Decline(
    code="processing_error",
    decline_code="processing_error",
    message="An error occurred while processing your card. Try again in a little bit.",
)
AUTHENTICATION_REQUIRED = Decline(
    code="authentication_required",
    decline_code="authentication_required",
    message="Your card was declined. This transaction requires authentication.",
)


class Authentication(StrEnum):
    """When a card asks for 3-D Secure."""

    NEVER = "never"
    SUPPORTED = "supported"
    """Only if the caller asks for it (`request_three_d_secure`)."""
    REQUIRED = "required"
    OFF_SESSION_SET_UP = "off_session_set_up"
    """Asks for it unless the payment is off session."""


class Dispute(StrEnum):
    """What the buyer's bank does after the capture."""

    FRAUDULENT = "fraudulent"
    PRODUCT_NOT_RECEIVED = "product_not_received"
    INQUIRY = "inquiry"
    WARNING = "warning"
    """An early fraud warning, which moves no money."""


class Refunds(StrEnum):
    """How refunds to a card end."""

    AT_ONCE = "at_once"
    PENDING = "pending"
    """Pending, and later succeeded."""
    FAILING = "failing"
    """Succeeded, and later failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A test card and what it does."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    authentication: Authentication = Authentication.SUPPORTED
    authentication_fails: bool = False
    """3-D Secure cannot be carried out."""
    dispute: Dispute | None = None
    disputes: int = 1
    refunds: Refunds = Refunds.AT_ONCE
    available_at_once: bool = False
    risk: str = "normal"
    cvc_check: str = "pass"
    partial: bool = False
    """Only half of the amount is authorized, if the caller allows that; else it is declined."""

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self.number[-4:]


_MC = "mastercard"
_ALWAYS = Authentication.REQUIRED
_VISA = Card(number="4242424242424242")

_CARDS: dict[str, Card] = {
    # by brand
    "visa": _VISA,
    "visa_debit": Card(number="4000056655665556", funding="debit"),
    "mastercard": Card(number="5555555555554444", brand=_MC),
    "mastercard_2series": Card(number="2223003122003222", brand=_MC),
    "mastercard_debit": Card(number="5200828282828210", brand=_MC, funding="debit"),
    "mastercard_prepaid": Card(number="5105105105105100", brand=_MC, funding="prepaid"),
    "amex": Card(number="378282246310005", brand="amex", authentication=Authentication.NEVER),
    "amex_2": Card(number="371449635398431", brand="amex", authentication=Authentication.NEVER),
    "discover": Card(number="6011111111111117", brand="discover"),
    "discover_2": Card(number="6011000990139424", brand="discover"),
    "discover_debit": Card(number="6011981111111113", brand="discover", funding="debit"),
    "diners": Card(number="3056930009020004", brand="diners"),
    "diners_14digits": Card(number="36227206271667", brand="diners"),
    "jcb": Card(number="3566002020360505", brand="jcb"),
    "unionpay": Card(number="6200000000000005", brand="unionpay"),
    # by country
    "us": _VISA,
    "gb": Card(number="4000008260000000", country="GB"),
    "de": Card(number="4000002760000016", country="DE"),
    "fr": Card(number="4000002500000003", country="FR"),
    "br": Card(number="4000000760000002", country="BR"),
    "jp": Card(number="4000003920000003", country="JP"),
    "au": Card(number="4000000360000006", country="AU"),
    # declined
    "chargeDeclined": Card(number="4000000000000002", decline=GENERIC),
    "chargeDeclinedInsufficientFunds": Card(number="4000000000009995", decline=INSUFFICIENT_FUNDS),
    "chargeDeclinedLostCard": Card(number="4000000000009987", decline=LOST),
    "chargeDeclinedStolenCard": Card(number="4000000000009979", decline=STOLEN),
    "chargeDeclinedExpiredCard": Card(number="4000000000000069", decline=EXPIRED),
    "chargeDeclinedIncorrectCvc": Card(
        number="4000000000000127", decline=INCORRECT_CVC, cvc_check="fail"
    ),
    "chargeDeclinedProcessingError": Card(number="4000000000000119", decline=PROCESSING_ERROR),
    "chargeDeclinedVelocityLimitExceeded": Card(number="4000000000006975", decline=VELOCITY),
    "chargeDeclinedFraudulent": Card(number="4100000000000019", decline=FRAUDULENT, risk="highest"),
    "radarBlock": Card(number="4100000000000019", decline=FRAUDULENT, risk="highest"),
    "chargeCustomerFail": Card(number="4000000000000341", decline=GENERIC),
    # risk and checks
    "riskLevelHighest": Card(number="4000000000004954", risk="highest"),
    "riskLevelElevated": Card(number="4000000000009235", risk="elevated"),
    "cvcCheckFail": Card(number="4000000000000101", cvc_check="fail"),
    "avsFail": Card(number="4000000000000010"),
    "avsLine1Fail": Card(number="4000000000000028"),
    "avsZipFail": Card(number="4000000000000036"),
    "avsUnchecked": Card(number="4000000000000044"),
    # disputes
    "createDispute": Card(number="4000000000000259", dispute=Dispute.FRAUDULENT),
    "createDisputeProductNotReceived": Card(
        number="4000000000002685", dispute=Dispute.PRODUCT_NOT_RECEIVED
    ),
    "createDisputeInquiry": Card(number="4000000000001976", dispute=Dispute.INQUIRY),
    "createIssuerFraudRecord": Card(number="4000000000005423", dispute=Dispute.WARNING),
    "createMultipleDisputes": Card(
        number="4000000404000079", dispute=Dispute.FRAUDULENT, disputes=2
    ),
    # refunds and the balance
    "pendingRefund": Card(number="4000000000007726", refunds=Refunds.PENDING),
    "refundFail": Card(number="4000000000005126", refunds=Refunds.FAILING),
    "bypassPending": Card(number="4000000000000077", available_at_once=True),
    "bypassPendingInternational": Card(
        number="4000003720000278", available_at_once=True, country="IE"
    ),
    # 3-D Secure
    "authenticationRequired": Card(number="4000002760003184", authentication=_ALWAYS, country="DE"),
    "authenticationRequiredOnSetup": Card(
        number="4000002500003155", authentication=Authentication.OFF_SESSION_SET_UP, country="FR"
    ),
    "authenticationRequiredSetupForOffSession": Card(
        number="4000003800000446", authentication=Authentication.OFF_SESSION_SET_UP, country="IT"
    ),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        number="4000008260003178", authentication=_ALWAYS, decline=INSUFFICIENT_FUNDS, country="GB"
    ),
    "threeDSecureRequired": Card(number="4000000000003063", authentication=_ALWAYS),
    "threeDSecure2Required": Card(number="4000000000003220", authentication=_ALWAYS),
    "threeDSecureRequiredChargeDeclined": Card(
        number="4000008400001629", authentication=_ALWAYS, decline=GENERIC
    ),
    "threeDSecureRequiredProcessingError": Card(
        number="4000008400001280", authentication=_ALWAYS, authentication_fails=True
    ),
    "threeDSecureOptional": Card(number="4000000000003055"),
    "threeDSecureOptionalProcessingError": Card(
        number="4000000000003097", authentication_fails=True
    ),
    "amex_threeDSecureNotSupported": Card(
        number="378282246310005", brand="amex", authentication=Authentication.NEVER
    ),
    # This one is ours: at Stripe a partial authorization has no test card.
    "partialAuthorization": Card(number="4000000000000200", partial=True),
}

_SAME: Mapping[str, str] = MappingProxyType(
    {
        # Stripe's documentation has these with the brand in the name, its older versions without.
        f"visa_{name}": name
        for name in _CARDS
        if name.startswith("chargeDeclined")
    }
)

CARDS: Mapping[str, Card] = MappingProxyType(
    {**_CARDS, **{name: replace(_CARDS[same]) for name, same in _SAME.items()}}
)
"""Name of a test card -> the card. `pm_card_<name>` and `tok_<name>` are its tokens."""

BY_NUMBER: Mapping[str, str] = MappingProxyType(
    {card.number: name for name, card in reversed(_CARDS.items())}
)
"""Number -> name of the first card with this number."""

PREFIXES = ("pm_card_", "tok_")


def name_of_token(token: str) -> str | None:
    """The name of the test card of a token; None if it is none."""
    for prefix in PREFIXES:
        if token.startswith(prefix) and token[len(prefix) :] in CARDS:
            return token[len(prefix) :]
    return None


def name_of_number(number: str, param: str = "card[number]") -> str:
    """The name of the test card of a number.

    Raises:
        StripeError: the number is not one of a card.
    """
    digits = number.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19 and luhn(digits)):
        raise StripeError(
            "Your card number is incorrect.",
            status=402,
            kind="card_error",
            code="incorrect_number",
            param=param,
        )
    if digits not in BY_NUMBER:
        raise StripeError(
            "Your card was declined. Your request was in test mode, but used a non test card. For a"
            " list of valid test cards, visit: https://docs.stripe.com/testing.",
            status=402,
            kind="card_error",
            code="card_declined",
            param=param,
            decline_code="test_mode_live_card",
        )
    return BY_NUMBER[digits]


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0

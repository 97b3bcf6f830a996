"""Why a card or a bank declines: Stripe's decline codes, each hard or soft, as data. Pure.

Sources: https://docs.stripe.com/declines/codes and https://docs.stripe.com/declines/card. A decline
is soft (`retryable`) if the same card can succeed later without a change; a hard one needs another
card, other data or the buyer's bank. A code that is not listed is hard: trying again costs fees and
can be fined by the card networks, asking the buyer for another card does not.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from connectors.charges import Failure


class Decline(StrEnum):
    """What a decline asks for."""

    SOFT = "soft"
    """May pass later, unchanged: no funds now, a limit of the day, the bank out of reach."""
    HARD = "hard"


DECLINES: Mapping[str, Decline] = MappingProxyType(
    {
        code: decline
        for decline, codes in {
            Decline.SOFT: (
                "approve_with_id call_issuer card_velocity_exceeded do_not_honor generic_decline "
                "insufficient_funds issuer_not_available no_action_taken processing_error "
                "reenter_transaction service_not_allowed try_again_later "
                "withdrawal_count_limit_exceeded"
            ),
            Decline.HARD: (
                "account_closed authentication_not_handled authentication_required "
                "bank_account_closed bank_account_restricted bank_account_unusable "
                "card_not_supported currency_not_supported debit_not_authorized do_not_try_again "
                "duplicate_transaction expired_card fraudulent highest_risk_level "
                "incorrect_address incorrect_cvc incorrect_number incorrect_pin incorrect_zip "
                "invalid_account invalid_amount invalid_cvc invalid_expiry_month "
                "invalid_expiry_year invalid_number invalid_pin lost_card merchant_blacklist "
                "mobile_device_authentication_required new_account_information_available "
                "not_permitted offline_pin_required online_or_offline_pin_required "
                "payment_intent_authentication_failure pickup_card pin_try_exceeded "
                "restricted_card revocation_of_all_authorizations revocation_of_authorization "
                "security_violation stolen_card stop_payment_order test_mode_live_card "
                "testmode_decline transaction_not_allowed"
            ),
        }.items()
        for code in codes.split()
    }
)

CONFIDENTIAL = frozenset(
    {
        "fraudulent",
        "highest_risk_level",
        "lost_card",
        "merchant_blacklist",
        "pickup_card",
        "restricted_card",
        "security_violation",
        "stolen_card",
    }
)
"""Shown to the buyer as a generic decline, as Stripe asks: the reason would warn a thief."""

ADVICE: Mapping[str, bool] = MappingProxyType(
    {"try_again_later": True, "do_not_try_again": False, "confirm_card_data": False}
)
"""The card network's own advice, where Stripe passes it on, overrides our table."""

UNEXPLAINED = "generic_decline"
CODE_LENGTH_MOST = 64


def failure(code: str | None, advice: str | None = None) -> Failure:
    """Return what a decline code means; `code` is Stripe's decline code, else its error code."""
    if code in (None, "", "card_declined"):
        code = UNEXPLAINED
    assert code
    return Failure(
        code=code[:CODE_LENGTH_MOST],
        retryable=ADVICE.get(advice or "", DECLINES.get(code) is Decline.SOFT),
        confidential=code in CONFIDENTIAL,
    )

"""Stripe's test bank accounts and what becomes of a payment from each, as data. Pure.

A bank's answer takes days: the payment stays `processing` until the simulator's clock gets there.
Tokens and account numbers are those of https://docs.stripe.com/testing (non-card payments).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulators.clock import DAY

US_BANK_ACCOUNT = "us_bank_account"
SEPA_DEBIT = "sepa_debit"
CURRENCY_OF: Mapping[str, str] = MappingProxyType({US_BANK_ACCOUNT: "usd", SEPA_DEBIT: "eur"})
"""Type of payment method -> the only currency that it has."""

REFUND_SECONDS = 3 * DAY
"""How long a refund to a bank account is pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a bank does not pay."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """A test account. `seconds` is None for a payment that stays `processing`."""

    type: str
    account: str
    seconds: int | None = 4 * DAY
    refusal: Refusal | None = None
    disputed: bool = False
    refund_fails: bool = False

    @property
    def last4(self) -> str:
        """The last four characters of the account."""
        return self.account[-4:]


def _us(account: str, code: str = "", message: str = "") -> Bank:
    refusal = Refusal(code=code, message=message) if code else None
    return Bank(type=US_BANK_ACCOUNT, account=account, refusal=refusal)


def _sepa(account: str, days: int = 5, *, disputed: bool = False) -> Bank:
    return Bank(type=SEPA_DEBIT, account=account, seconds=days * DAY, disputed=disputed)


_REJECTED = Refusal(
    code="payment_intent_payment_attempt_failed",
    message="The payment failed. The bank did not accept the debit.",
)

BANKS: Mapping[str, Bank] = MappingProxyType(
    {
        "pm_usBankAccount_success": _us("000123456789"),
        "pm_usBankAccount": _us("000123456789"),
        "pm_usBankAccount_accountClosed": _us(
            "000111111113", "account_closed", "The customer's bank account has been closed."
        ),
        "pm_usBankAccount_noAccount": _us(
            "000111111116", "no_account", "The customer's bank account could not be located."
        ),
        "pm_usBankAccount_insufficientFunds": _us(
            "000222222227",
            "insufficient_funds",
            "The customer's account has insufficient funds to cover this payment.",
        ),
        "pm_usBankAccount_debitNotAuthorized": _us(
            "000333333335",
            "debit_not_authorized",
            "The customer has notified their bank that this payment was unauthorized.",
        ),
        "pm_usBankAccount_invalidCurrency": _us(
            "000444444440",
            "invalid_currency",
            "The bank was unable to process this payment because of its currency.",
        ),
        "pm_usBankAccount_dispute": Bank(
            type=US_BANK_ACCOUNT, account="000555555559", disputed=True
        ),
        "pm_usBankAccount_processing": Bank(
            type=US_BANK_ACCOUNT, account="000000000009", seconds=None
        ),
        # Ours: Stripe has no account whose refund fails.
        "pm_usBankAccount_refundFail": Bank(
            type=US_BANK_ACCOUNT, account="000666666661", refund_fails=True
        ),
        "pm_sepaDebit": _sepa("AT611904300234573201"),
        "pm_success_at": _sepa("AT611904300234573201"),
        "pm_successDelayed_at": _sepa("AT321904300235473204", days=8),
        "pm_failed_at": Bank(
            type=SEPA_DEBIT, account="AT861904300235473202", seconds=5 * DAY, refusal=_REJECTED
        ),
        "pm_failedDelayed_at": Bank(
            type=SEPA_DEBIT, account="AT051904300235473205", seconds=8 * DAY, refusal=_REJECTED
        ),
        "pm_disputed_at": _sepa("AT591904300235473203", disputed=True),
    }
)
"""Token -> the account."""

BY_ACCOUNT: Mapping[str, str] = MappingProxyType(
    {bank.account: token for token, bank in reversed(list(BANKS.items()))}
)

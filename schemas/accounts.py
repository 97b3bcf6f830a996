"""The chart of accounts of the double-entry ledger, and one posting.

Debits are positive, credits negative. The postings of an event sum to zero in its currency. An
account is a type and an id, which says whose account it is.
"""

from enum import StrEnum

import msgspec


class AccountType(StrEnum):
    """Account types; each comment gives the meaning of the id and the side that normally grows."""

    PSP_RECEIVABLE = "psp_receivable"  # id: psp; debit: the PSP owes us
    PSP_DISPUTED = "psp_disputed"  # id: psp; debit: taken from us until a bank has decided
    SUSPENSE = "suspense"  # id: psp; credit: money came, debit: it went, and no order has it
    SELLER_PENDING = "seller_pending"  # id: seller; credit: we owe, cannot be paid out yet
    SELLER_AVAILABLE = "seller_available"  # id: seller; credit: we owe, can be paid out
    PLATFORM_COMMISSION = "platform_commission"  # id: seller it was earned from; credit: income
    PLATFORM_LOGISTICS = "platform_logistics"  # id: seller it was earned from; credit: income
    PAYOUT_IN_TRANSIT = "payout_in_transit"  # id: provider; credit: on its way to a seller
    BANK = "bank"  # id: psp or provider; debit: our money
    PSP_FEES = "psp_fees"  # id: psp; debit: fees that the PSP kept


SELLER_ACCOUNTS = frozenset(
    {
        AccountType.SELLER_PENDING,
        AccountType.SELLER_AVAILABLE,
        AccountType.PLATFORM_COMMISSION,
        AccountType.PLATFORM_LOGISTICS,
    }
)
"""Accounts whose id is a seller; `seller_revenue` is computed from their entries."""


class Posting(msgspec.Struct, frozen=True, gc=False):
    """One leg: signed minor units on one account; `leg` numbers an event's legs from 0."""

    account_type: AccountType
    account_id: str
    amount_minor: int

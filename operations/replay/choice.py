"""Which views are rebuilt, which others must be built to prove them, and which checks apply."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from operations.verify import checks
from operations.verify.accounts import ACCOUNT_BALANCES, ACCOUNT_DAYS
from operations.verify.balances import BALANCES
from operations.verify.compare import Question
from operations.verify.postings import BALANCE, POSTINGS
from operations.verify.revenue import REVENUE
from operations.verify.states import ORDERS, PAYOUT_STATES, REFUNDS, SEQUENCES
from schemas.errors import UsageError
from schemas.views import (
    BUYER_ORDERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    SELLER_REVENUE,
    Table,
)

VIEWS: tuple[Table, ...] = (BUYER_ORDERS, PAYOUTS, LEDGER_ENTRIES, SELLER_REVENUE, PAYMENT_EVENTS)
"""The views that a replay can rebuild, in the order of their exchange.

Totals come right after the entries that they are computed from, and the events last, so that a
reader who sees an event also sees what follows from it.
"""

_QUESTIONS: dict[Table, tuple[Question, ...]] = {
    PAYMENT_EVENTS: (SEQUENCES, REFUNDS),
    LEDGER_ENTRIES: (POSTINGS, BALANCE),
    BUYER_ORDERS: (ORDERS,),
    PAYOUTS: (PAYOUT_STATES,),
    SELLER_REVENUE: (REVENUE, BALANCES, ACCOUNT_DAYS, ACCOUNT_BALANCES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`swapped` are exchanged with the live ones; `built` also has the ones that prove them."""

    swapped: tuple[Table, ...]
    built: tuple[Table, ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Choose the named views, or all if none is named.

        Raises:
            UsageError: a view that does not exist.
        """
        known = {table.name: table for table in VIEWS}
        for name in names:
            if name not in known:
                raise UsageError(
                    "view", f"{name!r} cannot be replayed; choose from {', '.join(sorted(known))}"
                )
        swapped = tuple(table for table in VIEWS if not names or table.name in names)
        # Every check compares with the events, and totals are computed from the entries.
        needed = {PAYMENT_EVENTS, *swapped}
        if SELLER_REVENUE in needed:
            needed.add(LEDGER_ENTRIES)
        return cls(swapped=swapped, built=tuple(table for table in VIEWS if table in needed))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the views that are exchanged."""
        return tuple(table.name for table in self.swapped)

    @property
    def has_totals(self) -> bool:
        """Whether the sellers' totals are built."""
        return SELLER_REVENUE in self.built

    @property
    def questions(self) -> tuple[Question, ...]:
        """The checks of `verify` that these tables can answer, in the order of `verify`."""
        asked = {question.name for table in self.built for question in _QUESTIONS[table]}
        return tuple(question for question in checks.QUESTIONS if question.name in asked)

"""Balance transactions: every movement of the account's money at Stripe. net = amount - fee.

Each belongs to one day of settlement, on which it is paid out. That day is after the day of its
creation, so a day that has begun gets no more transactions.
"""

from datetime import UTC, datetime
from typing import Any

from simulators.clock import DAY
from simulators.stripe import objects, parameters
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.kinds import PAYOUT, TRANSACTION
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

SETTLEMENT_DAYS = 2
"""A payment is available at the beginning of the second day after it."""

_LIST = {
    **PAGING,
    "currency": parameters.text,
    "payout": parameters.text,
    "source": parameters.text,
    "type": parameters.text,
}


def record(
    account: Account,
    *,
    kind: str,
    amount: int,
    currency: str,
    source: str,
    fee: int = 0,
    category: str | None = None,
    description: str | None = None,
    fee_name: str = "Stripe processing fees",
    at_once: bool = True,
) -> Body:
    """Keep a movement of money. `at_once`: it is available now, not after the settlement days."""
    now = account.now
    today = now - now % DAY
    available_on = now if at_once else today + SETTLEMENT_DAYS * DAY
    day = today // DAY + (1 if at_once else SETTLEMENT_DAYS)
    details: list[Any] = []
    if fee:
        details = [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": fee_name,
                "type": "stripe_fee",
            }
        ]
    body = objects.transaction(
        account.store.new_id(TRANSACTION),
        now,
        amount=amount,
        available_on=available_on,
        currency=currency,
        description=description,
        fee=fee,
        fee_details=details,
        net=amount - fee,
        reporting_category=category or kind,
        source=source,
        type=kind,
    )
    account.store.insert(TRANSACTION, body, settle_day=day)
    return body


def shown(account: Account, body: Body) -> Body:
    """A transaction as it is now: pending or available."""
    status = "available" if body["available_on"] <= account.now else "pending"
    return {**body, "status": status}


def day_text(day: int) -> str:
    """A day, counted from 1970, as a date."""
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/balance_transactions/{id}."""
    parameters.checked(call.params, {})
    return shown(account, account.store.get(TRANSACTION, call.identity))


def list_(account: Account, call: Call) -> Body:
    """GET /v1/balance_transactions."""
    given = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    conditions.equal(given, "type", "source")
    if "currency" in given:
        conditions.add("currency = ?", given["currency"].lower())
    if "payout" in given:
        of_payout(account, given["payout"], conditions)
    return page_of(
        account.store, TRANSACTION, given, conditions, render=lambda body: shown(account, body)
    )


def of_payout(account: Account, identity: str, conditions: Conditions) -> None:
    """Limit to what a payout paid, and the payout itself; raises StripeError if there is none."""
    payout = account.store.get(PAYOUT, identity, param="payout", status=400)
    first = account.store.hidden(PAYOUT, identity, "first_day")
    last = account.store.hidden(PAYOUT, identity, "last_day")
    conditions.add(
        "((currency = ? AND settle_day BETWEEN ? AND ? AND type <> 'payout') OR id = ?)",
        payout["currency"],
        first,
        last,
        payout["balance_transaction"],
    )


def balance(account: Account, call: Call) -> Body:
    """GET /v1/balance."""
    parameters.checked(call.params, {})
    rows = account.database.rows(
        "SELECT currency, sum(CASE WHEN available_on <= ?1 THEN net ELSE 0 END),"
        " sum(CASE WHEN available_on > ?1 THEN net ELSE 0 END)"
        " FROM balance_transactions GROUP BY currency ORDER BY currency",
        (account.now,),
    )

    def listed(column: int) -> list[Body]:
        return [
            {"amount": row[column], "currency": row[0], "source_types": {"card": row[column]}}
            for row in rows
        ]

    return {
        "object": "balance",
        "available": listed(1),
        "livemode": False,
        "pending": listed(2),
        "refund_and_dispute_prefunding": {"available": [], "pending": []},
    }

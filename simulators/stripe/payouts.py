"""Payouts: at the beginning of each day what is settled goes to the bank, by currency."""

from simulators.clock import DAY
from simulators.stripe import amounts, objects, parameters, transactions
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.kinds import PAYOUT
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

ARRIVAL_SECONDS = DAY

FAILURE_CODE = "account_closed"
FAILURE_MESSAGE = "The bank account has been closed."


def of_the_day(account: Account) -> None:
    """Pay out every currency's transactions up to today's day of settlement.

    A currency whose sum is not positive waits: the next payout covers its days too.
    """
    today = account.now // DAY
    for (currency,) in account.database.rows(
        "SELECT DISTINCT currency FROM balance_transactions ORDER BY currency"
    ):
        last = account.database.row(
            "SELECT coalesce(max(last_day), 0) FROM payouts WHERE currency = ?", (currency,)
        )[0]
        found = account.database.row(
            "SELECT coalesce(sum(net), 0) FROM balance_transactions WHERE currency = ? AND"
            " settle_day BETWEEN ? AND ? AND type <> 'payout'",
            (currency, last + 1, today),
        )
        step = amounts.PAYOUT_STEPS.get(currency, 1)
        amount = found[0] - found[0] % step
        if amount > 0:
            _pay(account, currency, amount, first=last + 1, last=today)


def _pay(account: Account, currency: str, amount: int, *, first: int, last: int) -> None:
    identity = account.store.new_id(PAYOUT)
    transaction = transactions.record(
        account,
        kind="payout",
        amount=-amount,
        currency=currency,
        source=identity,
        description="STRIPE PAYOUT",
    )
    payout = objects.payout(
        identity,
        account.now,
        amount=amount,
        arrival_date=account.now - account.now % DAY + ARRIVAL_SECONDS,
        balance_transaction=transaction["id"],
        currency=currency,
        status="in_transit",
    )
    account.store.insert(PAYOUT, payout, first_day=first, last_day=last)
    account.emit("payout.created", payout)
    account.emit("payout.reconciliation_completed", payout)
    account.tasks.add("payout_arrives", identity, payout["arrival_date"])


def arrive(account: Account, identity: str) -> None:
    """The money is at the bank; it may still come back."""
    payout = account.store.get(PAYOUT, identity)
    payout["status"] = "paid"
    payout["trace_id"] = {"status": "supported", "value": identity[-12:].upper()}
    account.store.save(PAYOUT, payout)
    account.emit("payout.paid", payout)
    day = account.store.hidden(PAYOUT, identity, "last_day")
    days = account.faults.of_payout(f"{payout['currency']} {day}")
    if days is not None:
        account.later(days * DAY, "payout_fails", identity)


def fail(account: Account, identity: str) -> None:
    """The bank sends a payout back that was paid."""
    payout = account.store.get(PAYOUT, identity)
    transaction = transactions.record(
        account,
        kind="payout_failure",
        amount=payout["amount"],
        currency=payout["currency"],
        source=identity,
        description="PAYOUT FAILURE",
    )
    payout.update(
        status="failed",
        failure_balance_transaction=transaction["id"],
        failure_code=FAILURE_CODE,
        failure_message=FAILURE_MESSAGE,
    )
    account.store.save(PAYOUT, payout)
    account.emit("payout.failed", payout, {"status": "paid"})


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/payouts/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(PAYOUT, call.identity)


def list_(account: Account, call: Call) -> Body:
    """GET /v1/payouts."""
    given = parameters.checked(
        call.params,
        {
            **PAGING,
            "arrival_date": parameters.span,
            "destination": parameters.anything,
            "status": parameters.choice("paid", "pending", "in_transit", "canceled", "failed"),
        },
    )
    conditions = Conditions()
    conditions.span("arrival_date", given.get("arrival_date", {}))
    if "status" in given:
        conditions.add("status = ?", given["status"])
    return page_of(account.store, PAYOUT, given, conditions)

"""Refunds: never more than was captured, because each call is worked on alone.

A refund to a card succeeds at once, one to a bank account after days; some test cards and accounts
change their mind. A refund that fails gives the amount back to the charge.
"""

from collections.abc import Mapping
from types import MappingProxyType

from simulators.stripe import amounts, methods, objects, parameters, transactions
from simulators.stripe.account import Account
from simulators.stripe.banks import REFUND_SECONDS, Bank
from simulators.stripe.calls import Call
from simulators.stripe.cards import Card, Refunds
from simulators.stripe.errors import StripeError, missing
from simulators.stripe.kinds import CHARGE, DISPUTE, INTENT, REFUND
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.parameters import Check
from simulators.stripe.store import Body

CARD_SECONDS = 5.0
"""How long until a refund of `pendingRefund` succeeds and one of `refundFail` fails."""

OPEN_DISPUTES = ("needs_response", "under_review", "lost")
"""A charge with a dispute in one of these states cannot be refunded."""

CANCELABLE = ("pending", "requires_action")

_CREATE: Mapping[str, Check] = {
    "amount": parameters.positive,
    "charge": parameters.text,
    "currency": parameters.anything,
    "customer": parameters.anything,
    "instructions_email": parameters.anything,
    "metadata": parameters.metadata,
    "origin": parameters.anything,
    "payment_intent": parameters.text,
    "reason": parameters.choice("duplicate", "fraudulent", "requested_by_customer"),
    "refund_application_fee": parameters.anything,
    "reverse_transfer": parameters.anything,
}
_LIST = {**PAGING, "charge": parameters.text, "payment_intent": parameters.text}

STATUS_AT_FIRST: Mapping[Refunds, str] = MappingProxyType(
    {Refunds.AT_ONCE: "succeeded", Refunds.PENDING: "pending", Refunds.FAILING: "succeeded"}
)


def create(account: Account, call: Call) -> Body:
    """POST /v1/refunds."""
    given = parameters.checked(call.params, _CREATE)
    charge = _charge(account, given)
    amount = _amount(account, charge, given.get("amount"))
    behaves = methods.behaviour(account, charge["payment_method"])
    bank = isinstance(behaves, Bank)
    refund = objects.refund(
        account.store.new_id(REFUND, bank=bank),
        account.now,
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details=_destination(behaves),
        metadata=parameters.merged({}, given.get("metadata")),
        payment_intent=charge["payment_intent"],
        reason=given.get("reason"),
        status="pending" if isinstance(behaves, Bank) else STATUS_AT_FIRST[behaves.refunds],
    )
    transaction = transactions.record(
        account,
        kind="payment_refund" if bank else "refund",
        category="refund",
        amount=-amount,
        currency=charge["currency"],
        source=refund["id"],
        description=f"REFUND FOR CHARGE ({charge['description'] or charge['id']})",
    )
    refund["balance_transaction"] = transaction["id"]
    account.store.insert(REFUND, refund)
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    _given_back(charge, amount)
    account.store.save(CHARGE, charge)
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge, before)
    _later(account, refund, behaves)
    return refund


def _charge(account: Account, given: Mapping[str, str]) -> Body:
    """The charge to refund; raises StripeError if it took no money."""
    if "charge" in given:
        charge = account.store.get(CHARGE, given["charge"], param="charge")
    elif "payment_intent" in given:
        intent = account.store.get(INTENT, given["payment_intent"], param="payment_intent")
        charge = account.find(CHARGE, intent["latest_charge"]) or {"amount_captured": 0}
        if not charge["amount_captured"]:
            raise StripeError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                code="payment_intent_unexpected_state",
                param="payment_intent",
                executed=True,
            )
    else:
        raise missing("charge")
    if not charge["amount_captured"]:
        raise StripeError(
            f"Charge {charge['id']} has not been captured; it cannot be refunded.",
            code="charge_not_refundable",
            param="charge",
            executed=True,
        )
    return charge


def _amount(account: Account, charge: Body, wanted: int | None) -> int:
    """How much to refund; raises StripeError for more than is left."""
    left: int = charge["amount_captured"] - charge["amount_refunded"]
    assert left >= 0, charge
    if left == 0:
        raise StripeError(
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
            executed=True,
        )
    if charge["disputed"] and any(
        each["status"] in OPEN_DISPUTES
        for each in account.store.where(DISPUTE, {"charge": charge["id"]})
    ):
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            executed=True,
        )
    amount = left if wanted is None else wanted
    if amount > left:
        currency = charge["currency"]
        raise StripeError(
            f"Refund amount ({amounts.shown(amount, currency)}) is greater than unrefunded amount"
            f" on charge ({amounts.shown(left, currency)})",
            param="amount",
            executed=True,
        )
    amounts.check_step(amount, charge["currency"])
    return amount


def _given_back(charge: Body, amount: int) -> None:
    """Add to what was refunded; a negative amount takes it back."""
    charge["amount_refunded"] += amount
    assert 0 <= charge["amount_refunded"] <= charge["amount_captured"], charge
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]


def _destination(behaves: Card | Bank) -> Body:
    if isinstance(behaves, Card):
        reference = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
        return {"card": {**reference, "type": "refund"}, "type": "card"}
    name = "us_bank_transfer" if behaves.type == "us_bank_account" else "eu_bank_transfer"
    return {name: {"reference": None, "reference_status": "pending"}, "type": name}


def _later(account: Account, refund: Body, behaves: Card | Bank) -> None:
    if isinstance(behaves, Bank):
        task = "refund_fails" if behaves.refund_fails else "refund_succeeds"
        account.later(REFUND_SECONDS, task, refund["id"])
    elif behaves.refunds is Refunds.PENDING:
        account.later(CARD_SECONDS, "refund_succeeds", refund["id"])
    elif behaves.refunds is Refunds.FAILING:
        account.later(CARD_SECONDS, "refund_fails", refund["id"])


def succeed(account: Account, identity: str) -> None:
    """A pending refund reaches the buyer."""
    refund = account.store.get(REFUND, identity)
    if refund["status"] == "pending":
        _change(account, refund, "succeeded")


def fail(account: Account, identity: str) -> None:
    """The buyer's bank sends a refund back."""
    refund = account.store.get(REFUND, identity)
    if refund["status"] in ("pending", "succeeded"):
        refund["failure_reason"] = "expired_or_canceled_card"
        _return(account, refund, "failed")


def _return(account: Account, refund: Body, status: str) -> None:
    """The money of a refund is ours again, and the charge can be refunded again."""
    charge = account.store.get(CHARGE, refund["charge"])
    transaction = transactions.record(
        account,
        kind="refund_failure",
        amount=refund["amount"],
        currency=refund["currency"],
        source=refund["id"],
        description=f"REFUND FAILURE FOR {refund['id']}",
    )
    refund["failure_balance_transaction"] = transaction["id"]
    _given_back(charge, -refund["amount"])
    account.store.save(CHARGE, charge)
    _change(account, refund, status)


def _change(account: Account, refund: Body, status: str) -> None:
    before = {"status": refund["status"]}
    refund["status"] = status
    account.store.save(REFUND, refund)
    account.emit("refund.updated", refund, before)
    account.emit("charge.refund.updated", refund, before)
    if status == "failed":
        account.emit("refund.failed", refund, before)


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/refunds/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(REFUND, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/refunds/{id}."""
    given = parameters.checked(call.params, {"metadata": parameters.metadata})
    refund = account.store.get(REFUND, call.identity)
    before = {"metadata": refund["metadata"]}
    refund["metadata"] = parameters.merged(refund["metadata"], given.get("metadata"))
    account.store.save(REFUND, refund)
    account.emit("refund.updated", refund, before)
    return refund


def cancel(account: Account, call: Call) -> Body:
    """POST /v1/refunds/{id}/cancel."""
    parameters.checked(call.params, {})
    refund = account.store.get(REFUND, call.identity)
    if refund["status"] not in CANCELABLE:
        raise StripeError(
            f"You cannot cancel a refund that has a status of {refund['status']}.",
            code="refund_not_cancelable",
            executed=True,
        )
    _return(account, refund, "canceled")
    return refund


def list_(account: Account, call: Call) -> Body:
    """GET /v1/refunds."""
    given = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    conditions.equal(given, "charge", "payment_intent")
    return page_of(account.store, REFUND, given, conditions)

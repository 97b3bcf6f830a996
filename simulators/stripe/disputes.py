"""Disputes: a buyer asks the bank for the money back, and the bank decides.

In Stripe's test mode a text in the evidence decides: `winning_evidence`, `losing_evidence`, and for
an inquiry `escalate_inquiry_evidence`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from simulators.clock import DAY
from simulators.stripe import fees, methods, objects, parameters, transactions
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.cards import Card, Dispute
from simulators.stripe.errors import StripeError
from simulators.stripe.kinds import CHARGE, DISPUTE, INTENT
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

DUE_SECONDS = 9 * DAY
DECIDES_SECONDS = 1.0
"""How long after the evidence a bank decides."""

OPEN = ("needs_response", "warning_needs_response")
UNDER_REVIEW = ("under_review", "warning_under_review")
CLOSED = ("won", "lost", "warning_closed")

WINNING, LOSING, ESCALATING = "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"
ENDS: Mapping[tuple[bool, str], str] = MappingProxyType(
    {
        (False, WINNING): "won",
        (False, LOSING): "lost",
        (True, WINNING): "warning_closed",
        (True, LOSING): "warning_closed",
        (True, ESCALATING): "needs_response",
    }
)
"""(whether it is an inquiry, text in the evidence) -> how it ends."""

_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "general": "10"}
_EVIDENCE = {
    **dict.fromkeys(objects.EVIDENCE, parameters.optional_text),
    "enhanced_evidence": parameters.anything,
}
_UPDATE = {
    "evidence": parameters.shape(_EVIDENCE),
    "metadata": parameters.metadata,
    "submit": parameters.boolean,
}
_LIST = {**PAGING, "charge": parameters.text, "payment_intent": parameters.text}


def open_(account: Account, charge_id: str) -> None:
    """A buyer disputes what is left of a charge."""
    charge = account.store.get(CHARGE, charge_id)
    amount = charge["amount_captured"] - charge["amount_refunded"] - _disputed(account, charge_id)
    behaves = methods.behaviour(account, charge["payment_method"])
    if isinstance(behaves, Card) and behaves.disputes > 1 and not charge["disputed"]:
        amount //= behaves.disputes
    reason = "fraudulent"
    if isinstance(behaves, Card) and behaves.dispute is Dispute.PRODUCT_NOT_RECEIVED:
        reason = "product_not_received"
    if amount > 0:
        make(account, charge, amount=amount, reason=reason)


def inquire(account: Account, charge_id: str) -> None:
    """A buyer's bank asks about a charge; no money moves."""
    charge = account.store.get(CHARGE, charge_id)
    amount = charge["amount_captured"] - charge["amount_refunded"]
    if amount > 0:
        make(account, charge, amount=amount, reason="fraudulent", inquiry=True)


def warn(account: Account, charge_id: str) -> None:
    """The card's network expects fraud: Stripe only tells us."""
    charge = account.store.get(CHARGE, charge_id)
    warning = {
        "id": charge_id.replace("ch_", "issfr_", 1),
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": charge_id,
        "created": account.now,
        "fraud_type": "unauthorized_use_of_card",
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    account.emit("radar.early_fraud_warning.created", warning)


def make(
    account: Account, charge: Body, *, amount: int, reason: str, inquiry: bool = False
) -> Body:
    """Open a dispute of any amount, also above what is left of a charge: banks do that."""
    behaves = methods.behaviour(account, charge["payment_method"])
    details: Body = {"type": charge["payment_method_details"]["type"]}
    if isinstance(behaves, Card):
        details["card"] = {
            "brand": behaves.brand,
            "case_type": "inquiry" if inquiry else "chargeback",
            "network": behaves.brand,
            "network_reason_code": _REASON_CODES.get(reason, "10.4"),
        }
    dispute = objects.dispute(
        account.store.new_id(DISPUTE),
        account.now,
        account.now + DUE_SECONDS,
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        is_charge_refundable=inquiry,
        payment_intent=charge["payment_intent"],
        payment_method_details=details,
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    if not inquiry:
        _withdraw(account, dispute)
    account.store.insert(DISPUTE, dispute, withdrawn=0 if inquiry else amount)
    charge["disputed"] = True
    account.store.save(CHARGE, charge)
    account.emit("charge.dispute.created", dispute)
    if not inquiry:
        account.emit("charge.dispute.funds_withdrawn", dispute)
    account.tasks.add("dispute_due", dispute["id"], account.now + DUE_SECONDS)
    return dispute


def _disputed(account: Account, charge_id: str) -> int:
    """How much of a charge disputes have taken and not given back."""
    return sum(
        each["amount"]
        for each in account.store.where(DISPUTE, {"charge": charge_id})
        if each["status"] in ("needs_response", "under_review", "lost")
    )


def _withdraw(account: Account, dispute: Body) -> None:
    transaction = transactions.record(
        account,
        kind="adjustment",
        category="dispute",
        amount=-dispute["amount"],
        currency=dispute["currency"],
        source=dispute["id"],
        fee=fees.of_dispute(dispute["currency"]),
        fee_name="Dispute fee",
        description=f"Chargeback withdrawal for {dispute['charge']}",
    )
    dispute["balance_transactions"].append(transactions.shown(account, transaction))


def _reinstate(account: Account, dispute: Body) -> None:
    transaction = transactions.record(
        account,
        kind="adjustment",
        category="dispute_reversal",
        amount=dispute["amount"],
        currency=dispute["currency"],
        source=dispute["id"],
        description=f"Chargeback reversal for {dispute['charge']}",
    )
    dispute["balance_transactions"].append(transactions.shown(account, transaction))
    account.store.hide(DISPUTE, dispute["id"], withdrawn=0)


def decide(account: Account, identity: str) -> None:
    """The bank has read the evidence."""
    dispute = account.store.get(DISPUTE, identity)
    if dispute["status"] not in UNDER_REVIEW:
        return
    inquiry = dispute["status"].startswith("warning_")
    texts = [each for each in dispute["evidence"].values() if isinstance(each, str)]
    end = next((ENDS[inquiry, each] for each in texts if (inquiry, each) in ENDS), None)
    if end is not None:
        _end(account, dispute, end)


def due(account: Account, identity: str) -> None:
    """Nobody has answered in time."""
    dispute = account.store.get(DISPUTE, identity)
    if dispute["status"] in OPEN:
        dispute["evidence_details"]["past_due"] = True
        _end(account, dispute, _given_up(dispute))


def _given_up(dispute: Body) -> str:
    return "warning_closed" if dispute["status"].startswith("warning_") else "lost"


def _end(account: Account, dispute: Body, status: str) -> None:
    """Give a dispute its last state; an inquiry may instead become a dispute that takes money."""
    before = {"status": dispute["status"]}
    dispute["status"] = status
    if status == "needs_response":
        dispute["is_charge_refundable"] = False
        _withdraw(account, dispute)
        account.store.hide(DISPUTE, dispute["id"], withdrawn=dispute["amount"])
        account.store.save(DISPUTE, dispute)
        account.emit("charge.dispute.updated", dispute, before)
        account.emit("charge.dispute.funds_withdrawn", dispute)
        account.tasks.add("dispute_due", dispute["id"], account.now + DUE_SECONDS)
        return
    if status == "won":
        _reinstate(account, dispute)
    account.store.save(DISPUTE, dispute)
    account.emit("charge.dispute.closed", dispute, before)
    if status == "won":
        account.emit("charge.dispute.funds_reinstated", dispute)


def reverse(account: Account, identity: str) -> Body:
    """The bank decides for us after all, on appeal; raises StripeError if it was not lost."""
    dispute = account.store.get(DISPUTE, identity)
    if dispute["status"] != "lost":
        raise StripeError(f"{identity} is {dispute['status']}, not lost", param="dispute")
    _end(account, dispute, "won")
    return dispute


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/disputes/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(DISPUTE, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/disputes/{id}: evidence, which is submitted unless `submit` is false."""
    given = parameters.checked(call.params, _UPDATE)
    dispute = account.store.get(DISPUTE, call.identity)
    evidence: dict[str, Any] = given.get("evidence", {})
    wants = bool(evidence) or given.get("submit", False)
    if wants and dispute["status"] not in OPEN:
        raise StripeError(
            "This dispute is already closed or under review; evidence can no longer be submitted.",
            code="dispute_evidence_past_due",
            executed=True,
        )
    before = {"status": dispute["status"], "evidence": dict(dispute["evidence"])}
    dispute["metadata"] = parameters.merged(dispute["metadata"], given.get("metadata"))
    dispute["evidence"].update(evidence)
    details = dispute["evidence_details"]
    details["has_evidence"] = any(
        isinstance(each, str) and each for each in dispute["evidence"].values()
    )
    if wants and given.get("submit", True):
        details["submission_count"] += 1
        inquiry = dispute["status"].startswith("warning_")
        dispute["status"] = UNDER_REVIEW[1] if inquiry else UNDER_REVIEW[0]
        account.later(DECIDES_SECONDS, "dispute_decided", dispute["id"])
    account.store.save(DISPUTE, dispute)
    account.emit("charge.dispute.updated", dispute, before)
    return dispute


def close(account: Account, call: Call) -> Body:
    """POST /v1/disputes/{id}/close: we give up."""
    parameters.checked(call.params, {})
    dispute = account.store.get(DISPUTE, call.identity)
    if dispute["status"] in CLOSED:
        raise StripeError(
            f"This dispute is already closed: {dispute['status']}.",
            code="dispute_already_closed",
            executed=True,
        )
    _end(account, dispute, _given_up(dispute))
    return dispute


def list_(account: Account, call: Call) -> Body:
    """GET /v1/disputes."""
    given = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    conditions.equal(given, "charge", "payment_intent")
    return page_of(account.store, DISPUTE, given, conditions)


def at_will(
    account: Account, *, subject: str, amount: int | None, reason: str, inquiry: bool
) -> Body:
    """Open a dispute of a charge or payment intent for a test; raises StripeError."""
    if subject.startswith("pi_"):
        subject = account.store.get(INTENT, subject)["latest_charge"] or subject
    charge = account.store.get(CHARGE, subject)
    if not charge["amount_captured"]:
        raise StripeError(f"{subject} has taken no money", param="charge")
    return make(
        account, charge, amount=amount or charge["amount_captured"], reason=reason, inquiry=inquiry
    )

"""What moves the account's money: refunds, disputes, the balance, payouts, reports."""

import csv
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.simulator import Simulator, running
from tests.waiting import wait_until

DAY = 86_400


def paid(
    client: stripe.StripeClient, token: str = "pm_card_visa", amount: int = 2500, **more: Any
) -> stripe.PaymentIntent:
    asked: Any = {
        "amount": amount,
        "currency": "eur",
        "payment_method": token,
        "confirm": True,
        "expand": ["latest_charge"],
        **more,
    }
    intent = client.v1.payment_intents.create(asked)
    assert intent.status in ("succeeded", "processing")
    return intent


def types(client: stripe.StripeClient, source: str) -> list[tuple[str, str, int]]:
    booked = client.v1.balance_transactions.list({"source": source}).data
    return [(each.type, each.reporting_category, each.amount) for each in reversed(booked)]


def test_refunds_until_nothing_is_left(client: stripe.StripeClient) -> None:
    intent = paid(client)
    charge: Any = intent.latest_charge
    first = client.v1.refunds.create(
        {
            "payment_intent": intent.id,
            "amount": 1000,
            "reason": "requested_by_customer",
            "metadata": {"purser_refund_id": "r-1"},
        }
    )
    assert (first.id[:3], first.status, first.amount) == ("re_", "succeeded", 1000)
    assert types(client, first.id) == [("refund", "refund", -1000)]
    second = client.v1.refunds.create({"charge": charge.id})
    assert second.amount == 1500
    done = client.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (done.amount_refunded, done.refunded) == (2500, True)
    assert done.refunds is not None
    assert [each.id for each in done.refunds.data] == [second.id, first.id]
    assert [each.id for each in client.v1.refunds.list({"payment_intent": intent.id}).data] == [
        second.id,
        first.id,
    ]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"


def test_refunds_above_the_captured_amount_are_refused(client: stripe.StripeClient) -> None:
    intent = paid(client, capture_method="automatic")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as caught:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 2501})
    assert caught.value.param == "amount"
    held = client.v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "capture_method": "manual",
        }
    )
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        client.v1.refunds.create({"payment_intent": held.id})
    client.v1.payment_intents.capture(held.id, {"amount_to_capture": 900})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": held.id, "amount": 901})


def test_refunds_at_once_never_exceed_what_was_captured(simulator: Simulator) -> None:
    intent = paid(simulator.client(), amount=1000)

    def refund(_: int) -> int:
        try:
            return (
                simulator.client()
                .v1.refunds.create({"payment_intent": intent.id, "amount": 150})
                .amount
            )
        except stripe.InvalidRequestError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        amounts = list(pool.map(refund, range(24)))
    assert sum(amounts) == 900
    charge: Any = (
        simulator.client()
        .v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
        .latest_charge
    )
    assert charge.amount_refunded == 900
    simulator.books()


def test_a_refund_that_is_pending_succeeds_later(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    refund = client.v1.refunds.create({"payment_intent": paid(client, "pm_card_pendingRefund").id})
    assert refund.status == "pending"
    simulator.advance(10)
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"


def test_a_refund_that_fails_gives_the_money_back(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = paid(client, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    simulator.advance(10)
    refund = client.v1.refunds.retrieve(refund.id)
    assert (refund.status, refund.failure_reason) == ("failed", "expired_or_canceled_card")
    assert types(client, refund.id) == [
        ("refund", "refund", -2500),
        ("refund_failure", "refund_failure", 2500),
    ]
    charge: Any = intent.latest_charge
    charge = client.v1.charges.retrieve(charge.id)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 2500


def bank(client: stripe.StripeClient, simulator: Simulator, token: str) -> stripe.PaymentIntent:
    intent = paid(client, token, currency="usd")
    simulator.advance(4 * DAY)
    return intent


def test_refunds_to_banks_take_days(client: stripe.StripeClient, simulator: Simulator) -> None:
    good = client.v1.refunds.create(
        {"payment_intent": bank(client, simulator, "pm_usBankAccount_success").id}
    )
    bad = client.v1.refunds.create(
        {"payment_intent": bank(client, simulator, "pm_usBankAccount_refundFail").id}
    )
    called_off = client.v1.refunds.create(
        {"payment_intent": bank(client, simulator, "pm_usBankAccount_success").id}
    )
    assert (bad.status, called_off.status) == ("pending", "pending")
    assert client.v1.refunds.cancel(called_off.id).status == "canceled"
    simulator.advance(3 * DAY)
    assert client.v1.refunds.retrieve(good.id).status == "succeeded"
    assert client.v1.refunds.retrieve(bad.id).status == "failed"
    assert client.v1.refunds.retrieve(called_off.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="cannot cancel a refund"):
        client.v1.refunds.cancel(good.id)
    simulator.books("USD")


def disputed(
    client: stripe.StripeClient, simulator: Simulator, token: str
) -> tuple[stripe.PaymentIntent, stripe.Dispute]:
    intent = paid(client, token)
    simulator.advance(2)
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id}).data
    return intent, dispute


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("pm_card_createDispute", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received"),
    ],
)
def test_a_dispute_takes_the_amount_and_a_fee_and_is_lost_without_evidence(
    client: stripe.StripeClient, simulator: Simulator, token: str, reason: str
) -> None:
    intent, dispute = disputed(client, simulator, token)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", reason, 2500)
    assert [(each.amount, each.fee, each.net) for each in dispute.balance_transactions] == [
        (-2500, 1500, -4000)
    ]
    charge: Any = intent.latest_charge
    assert client.v1.charges.retrieve(charge.id).disputed
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_disputed"
    simulator.advance(10 * DAY)
    assert client.v1.disputes.retrieve(dispute.id).status == "lost"
    simulator.books()


@pytest.mark.parametrize(
    ("evidence", "status", "booked"),
    [
        ("winning_evidence", "won", [-2500, 2500]),
        ("losing_evidence", "lost", [-2500]),
        ("It was a fine umbrella.", "under_review", [-2500]),
    ],
)
def test_the_text_of_the_evidence_decides(
    client: stripe.StripeClient,
    simulator: Simulator,
    evidence: str,
    status: str,
    booked: list[int],
) -> None:
    _, dispute = disputed(client, simulator, "pm_card_createDispute")
    kept = client.v1.disputes.update(
        dispute.id, {"evidence": {"product_description": "An umbrella"}, "submit": False}
    )
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    sent = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    simulator.advance(2)
    assert client.v1.disputes.retrieve(dispute.id).status == status
    assert [amount for _, _, amount in types(client, dispute.id)] == booked
    simulator.books()


def test_a_dispute_that_we_accept_is_lost_once(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    _, dispute = disputed(client, simulator, "pm_card_createDispute")
    assert client.v1.disputes.close(dispute.id).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute.id)


def test_an_inquiry_moves_no_money_until_it_is_escalated(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    _, inquiry = disputed(client, simulator, "pm_card_createDisputeInquiry")
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    assert types(client, inquiry.id) == []
    client.v1.disputes.update(
        inquiry.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    )
    simulator.advance(2)
    assert client.v1.disputes.retrieve(inquiry.id).status == "needs_response"
    assert [amount for _, _, amount in types(client, inquiry.id)] == [-2500]
    _, closed = disputed(client, simulator, "pm_card_createDisputeInquiry")
    simulator.advance(10 * DAY)
    assert client.v1.disputes.retrieve(closed.id).status == "warning_closed"
    simulator.books()


def test_a_lost_dispute_can_be_won_on_appeal(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = paid(client, amount=1000)
    asked = {"charge": intent.id, "amount": 600}
    _, dispute = simulator.ask("POST", "/_simulator/disputes", asked)
    path = f"/_simulator/disputes/{dispute['id']}/reverse"
    assert simulator.ask("POST", path, {})[0] == 422
    client.v1.disputes.close(dispute["id"])
    status, won = simulator.ask("POST", path, {})
    assert (status, won["status"]) == (200, "won")
    assert [line["amount"] for line in won["balance_transactions"]] == [-600, 600]
    assert simulator.ask("POST", path, {})[0] == 422
    simulator.books()


def test_a_test_can_open_any_dispute(client: stripe.StripeClient, simulator: Simulator) -> None:
    intent = paid(client, amount=1000)
    client.v1.refunds.create({"payment_intent": intent.id})
    asked = {"charge": intent.id, "amount": 1050, "reason": "duplicate"}
    status, dispute = simulator.ask("POST", "/_simulator/disputes", asked)
    assert (status, dispute["amount"], dispute["reason"]) == (201, 1050, "duplicate")
    assert client.v1.disputes.retrieve(dispute["id"]).amount == 1050
    simulator.books()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator that nobody else uses."""
    with running(tmp_path) as started:
        yield started


def test_the_balance_becomes_available_and_is_paid_out_daily(fresh: Simulator) -> None:
    client = fresh.client()
    intent = paid(client, amount=10_000)
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    waiting = client.v1.balance.retrieve()
    assert [each.amount for each in waiting.pending] == [9680]
    assert [each.amount for each in waiting.available] == [-1000]
    fresh.advance(2 * DAY)
    (payout,) = client.v1.payouts.list().data
    assert (payout.status, payout.amount, payout.automatic) == ("in_transit", 8680, True)
    lines = client.v1.balance_transactions.list({"payout": payout.id}).data
    charge: Any = intent.latest_charge
    assert {(each.type, each.source, each.net) for each in lines} == {
        ("charge", charge.id, 9680),
        ("refund", refund.id, -1000),
        ("payout", payout.id, -8680),
    }
    assert sum(each.amount - each.fee - each.net for each in lines) == 0
    assert all(each["status"] == "available" for each in (line.to_dict() for line in lines))
    fresh.advance(DAY)
    assert client.v1.payouts.retrieve(payout.id).status == "paid"
    assert [each.amount for each in client.v1.balance.retrieve().available] == [0]
    books = fresh.books()
    assert books["payouts"] == {"count": 1, "sum": 8680, "sum_minor": 8680}
    assert books["balance"]["sum"] == 0


def test_bypass_pending_is_available_at_once(client: stripe.StripeClient) -> None:
    intent = paid(client, "pm_card_bypassPending", expand=["latest_charge.balance_transaction"])
    charge: Any = intent.latest_charge
    assert charge.balance_transaction.status == "available"


def test_a_payout_that_was_paid_can_fail_and_is_paid_again(fresh: Simulator) -> None:
    client = fresh.client()
    fresh.ask("PUT", "/_simulator/faults", {"seed": 1, "plan": {"paid_then_failed": 1.0}})
    paid(client, amount=10_000)
    fresh.advance(3 * DAY)
    (payout,) = client.v1.payouts.list().data
    assert payout.status == "paid"
    fresh.ask("DELETE", "/_simulator/faults")
    fresh.advance(6 * DAY)
    again, failed = client.v1.payouts.list().data
    assert (failed.id, failed.status, failed.failure_code) == (
        payout.id,
        "failed",
        "account_closed",
    )
    assert (again.status, again.amount) == ("paid", payout.amount)
    kinds = {event.type for event in client.v1.events.list({"types": ["payout.*"]}).data}
    assert {"payout.created", "payout.paid", "payout.failed"} <= kinds
    assert fresh.books()["balance"]["sum"] == 0


def test_the_settlement_report_has_what_was_settled_in_major_units(fresh: Simulator) -> None:
    client = fresh.client()
    intent = paid(client, amount=10_000, metadata={"purser_payment_id": "p-1"})
    dinar = paid(client, amount=10_000, currency="kwd")
    refund = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 1000, "metadata": {"purser_refund_id": "r-1"}}
    )
    fresh.advance(2 * DAY)
    today = datetime.fromisoformat(fresh.get("/_simulator/clock")["now"]).astimezone(UTC).date()
    rows = list(
        csv.DictReader(io.StringIO(fresh.text(f"/_simulator/reports/settlement?date={today}")))
    )
    charge: Any = intent.latest_charge
    found = {row["source_id"]: row for row in rows}
    row = found[charge.id]
    assert (row["gross"], row["fee"], row["net"]) == ("100.00", "3.20", "96.80")
    assert row["payment_metadata[purser_payment_id]"] == "p-1"
    assert row["payment_intent_id"] == intent.id
    other: Any = dinar.latest_charge
    assert (found[other.id]["gross"], found[other.id]["net"]) == ("10.000", "9.710")
    payouts = {each.id: each for each in client.v1.payouts.list().data}
    assert row["automatic_payout_id"] in payouts
    assert found[row["automatic_payout_id"]]["gross"] == "-86.80"
    yesterday = fresh.text(
        f"/_simulator/reports/settlement?date={today.fromordinal(today.toordinal() - 1)}"
    )
    refunded = {row["source_id"]: row for row in csv.DictReader(io.StringIO(yesterday))}
    assert refunded[refund.id]["gross"] == "-10.00"
    assert refunded[refund.id]["refund_metadata[purser_refund_id]"] == "r-1"
    assert refunded[refund.id]["automatic_payout_id"] == row["automatic_payout_id"]


def test_books_and_charges_are_for_comparing(fresh: Simulator) -> None:
    client = fresh.client()
    ours = [f"p-{number}" for number in range(3)]
    for name in ours:
        paid(client, metadata={"purser_payment_id": name})
    with pytest.raises(stripe.CardError):
        paid(client, "pm_card_chargeDeclined", metadata={"purser_payment_id": "p-9"})
    paid(client, amount=30_000, currency="isk")
    assert fresh.books()["charges"] == {"count": 3, "sum": 7500, "sum_minor": 7500}
    assert fresh.books("ISK")["charges"] == {"count": 1, "sum": 30_000, "sum_minor": 300}
    found, cursor = [], ""
    while True:
        page = fresh.get(f"/_simulator/charges?limit=2{cursor}")
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [each["payment_id"] for each in found] == [*ours, "p-9", None]
    assert [each["captured_minor"] for each in found] == [2500, 2500, 2500, 0, 300]


def test_disputes_come_by_themselves(client: stripe.StripeClient) -> None:
    intent = paid(client, "pm_card_createDispute")
    wait_until(
        lambda: client.v1.disputes.list({"payment_intent": intent.id}).data,
        "the dispute",
        seconds=20,
    )


def test_each_transaction_is_in_one_payout(fresh: Simulator) -> None:
    client = fresh.client()
    for _ in range(4):
        intent = paid(client, amount=10_000)
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 3000})
        fresh.advance(DAY)
    fresh.advance(3 * DAY)
    seen: list[str] = []
    payouts = client.v1.payouts.list({"limit": 100}).data
    assert len(payouts) >= 4
    for payout in payouts:
        lines = client.v1.balance_transactions.list({"payout": payout.id, "limit": 100}).data
        assert sum(line.net for line in lines) == 0
        seen += [line.id for line in lines]
    every = [line.id for line in client.v1.balance_transactions.list({"limit": 100}).data]
    assert sorted(seen) == sorted(every)

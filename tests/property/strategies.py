"""Random payments and random commands about them, many of which must be refused."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.builders import a_payment, change
from writer import commands as c
from writer.commands import OrderLine

PSPS = st.sampled_from(["stripe", "adyen"])
REFUND_IDS = st.sampled_from(["re1", "re2"])
CHARGE_KINDS: tuple[type[c.Change], ...] = (
    c.Attempt, c.RequireAction, c.MarkProcessing, c.MarkUnknown, c.Authorize, c.RequestCapture,
    c.FailCapture, c.RequestCancel, c.FailCancel, c.Fail, c.Cancel, c.Expire, c.Ship, c.Deliver,
)  # fmt: skip
MONEY_KINDS: tuple[type[c.Change], ...] = (
    c.Capture, c.Release, c.RequestRefund, c.RecordRefund, c.FailRefund, c.ReturnRefund,
    c.OpenDispute, c.WinDispute, c.LoseDispute, c.Honour,
)  # fmt: skip
# Most commands move money: an order that failed early has no more to tell.
KINDS: st.SearchStrategy[type[c.Change]] = st.one_of(
    *[st.sampled_from(MONEY_KINDS)] * 4, st.sampled_from(CHARGE_KINDS)
)


@st.composite
def order_lines(draw: st.DrawFn, order_id: str) -> OrderLine:
    amount = draw(st.integers(1, 1000))
    commission = draw(st.integers(0, amount))
    logistics = draw(st.integers(0, amount - commission))
    return OrderLine(
        order_id=order_id,
        seller_id=draw(st.sampled_from(["s1", "s2"])),
        amount_minor=amount,
        commission_minor=commission,
        logistics_fee_minor=logistics,
    )


@st.composite
def payments(draw: st.DrawFn) -> c.CreatePayment:
    """A payment of one to three orders A, B, C."""
    count = draw(st.integers(1, 3))
    return a_payment(*(draw(order_lines(order_id)) for order_id in "ABC"[:count]))


@st.composite
def changes(
    draw: st.DrawFn, payment: c.CreatePayment, left: Callable[[str, str | None], int]
) -> c.Change:
    """Any pay-in command about a payment, right or wrong.

    `left(event, order_id)` is how much the command may have, so that amounts come close to it.
    """
    kind = draw(KINDS)
    fields: dict[str, Any] = {}
    order_ids = [line.order_id for line in payment.orders]
    order_id = draw(st.sampled_from([*order_ids, None] * 4 + ["Z"]))
    if issubclass(kind, c.OrderChange):
        fields["order_id"] = order_id
    if issubclass(kind, c.AmountChange):
        most = left(kind.event_type, order_id)
        parts = [most // 5, most // 4, most // 3, most // 2, most - 1, most, most + 1, None]
        amount = draw(st.sampled_from(parts))
        fields["amount_minor"] = amount if amount is None else max(1, amount)
    if kind is c.Attempt:
        fields["psp"] = draw(PSPS)
    if kind in (c.Capture, c.RecordRefund, c.ReturnRefund, c.OpenDispute):
        fields["psp"] = draw(st.sampled_from([None] * 6 + ["stripe", "adyen"]))
    if kind in (c.Capture, c.RecordRefund, c.OpenDispute):
        fields["is_stray"] = draw(st.sampled_from([False] * 5 + [True]))
    if kind in (c.RecordRefund, c.ReturnRefund, c.OpenDispute, c.WinDispute, c.LoseDispute):
        fields["psp_reference"] = draw(st.sampled_from([None, "x1", "x2"]))
    if kind is c.ReturnRefund and draw(st.booleans()):
        fields["refund_id"] = draw(REFUND_IDS)
    if kind in (c.RequestRefund, c.FailRefund):
        fields["refund_id"] = draw(REFUND_IDS)
    if kind is c.RecordRefund and draw(st.booleans()):
        fields["refund_id"] = draw(REFUND_IDS)
        # Orders and amount are the request's, so mostly they are not said again.
        if draw(st.booleans()):
            fields |= {"order_id": None, "amount_minor": None}
    return change(kind, payment.payment_id, **fields)

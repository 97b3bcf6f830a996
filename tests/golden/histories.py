"""What is recorded: every event type of both directions, and what may go wrong with each sum.

`BEFORE` is appended before Debezium starts, so its rows come from the initial snapshot; `AFTER`
while it streams. Later versions record whatever these commands then make; a new event type needs a
command here, `record` refuses to write a file in which one is missing.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from writer import commands as c

_STARTS = {  # a leap day's end, and a time with microseconds
    "card": datetime(2024, 2, 29, 23, 59, 30, tzinfo=UTC),
    "debit_card": datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "bank_transfer": datetime(2026, 1, 5, 12, 0, 0, 123_456, tzinfo=UTC),
}

Commands = list[c.AnyCommand]


class _Story:
    """The commands of one payment or payout, each a minute and a bit after the one before."""

    def __init__(self, opening: c.CreatePayment | c.RequestPayout) -> None:
        self.commands: Commands = [opening]
        self._opening = opening
        self._numbers = count(1)

    def then(self, make: type[c.Change], **fields: Any) -> "_Story":
        number = next(self._numbers)
        self.commands.append(
            make(
                payment_id=self._opening.payment_id,
                idempotency_key=f"{self._opening.idempotency_key}/{number}",
                occurred_at=self._opening.occurred_at + number * timedelta(seconds=61.000_007),
                **fields,
            )
        )
        return self


def _payment(
    key: str,
    currency: str,
    *orders: tuple[str, str, int, int, int],
    method: str = "card",
    psp: str = "stripe",
    **wishes: Any,
) -> _Story:
    """A payment; an order is (id, seller, amount, commission, logistics fee)."""
    return _Story(
        c.CreatePayment(
            idempotency_key=f"golden-{key}",
            occurred_at=_STARTS[method],
            buyer_id=f"buyer-{key}",
            currency=currency,
            psp=psp,
            method=method,
            orders=tuple(
                c.OrderLine(
                    order_id=order_id,
                    seller_id=seller_id,
                    amount_minor=amount,
                    commission_minor=commission,
                    logistics_fee_minor=logistics,
                )
                for order_id, seller_id, amount, commission, logistics in orders
            ),
            **wishes,
        )
    )


def _payout(key: str, currency: str, seller_id: str, amount_minor: int) -> _Story:
    return _Story(
        c.RequestPayout(
            idempotency_key=f"golden-{key}",
            occurred_at=_STARTS["bank_transfer"],
            seller_id=seller_id,
            currency=currency,
            amount_minor=amount_minor,
            psp="tipalti",
            method="bank_transfer",
        )
    )


def _sold_in_parts() -> _Story:
    return (
        _payment("parts", "EUR", ("A", "shop-1", 1000, 100, 50), ("B", "shop-2", 333, 0, 0))
        .then(c.Authorize, psp_reference="pi_parts")
        .then(c.Capture, order_id="A", amount_minor=600)
        .then(c.Ship, order_id="A")
        .then(c.Capture)
        .then(c.Ship, order_id="A")
        .then(c.Deliver)
        .then(c.Release, order_id="A", amount_minor=123)
        .then(c.Release)
    )


def _refunded_before_and_after_release() -> _Story:
    # An odd amount over three orders: largest remainders; ids with all that they may hold.
    return (
        _payment(
            "refunds",
            "KWD",
            ('x"\\/<&>', "shop-1", 10_001, 1_001, 7),
            ("y'~!", "shop-3", 3_333, 333, 0),
            ("z{}", "shop-1", 1, 0, 0),
            method="debit_card",
        )
        .then(c.Authorize)
        .then(c.Capture, psp_reference="pi_refunds")
        .then(c.RequestRefund, refund_id="r-1", amount_minor=1_000)
        .then(c.RecordRefund, refund_id="r-1")
        .then(c.RequestRefund, refund_id="r-2", order_id="y'~!")
        .then(c.FailRefund, refund_id="r-2", reason="card_closed")
        .then(c.Release)
        .then(c.RecordRefund, amount_minor=77)  # at the PSP, without us
        .then(c.RequestRefund, refund_id="r-3")
        .then(c.RecordRefund, refund_id="r-3")
    )


def _disputed() -> _Story:
    return (
        _payment("disputes", "USD", ("D", "shop-2", 5_000, 500, 250), ("E", "shop-4", 900, 90, 0))
        .then(c.Authorize, psp_reference="pi_disputes")
        .then(c.Capture)
        .then(c.Ship)
        .then(c.Release, order_id="D", amount_minor=4_000)
        .then(c.OpenDispute, order_id="D", reason="fraudulent")
        .then(c.WinDispute, order_id="D")
        .then(c.OpenDispute, order_id="D", amount_minor=4_500, reason="not_received")
        .then(c.LoseDispute, order_id="D")
        .then(c.OpenDispute, order_id="E")
        .then(c.LoseDispute, order_id="E")
    )


def _asked_twice() -> _Story:
    # The second processor has it, and the first one took the money after all.
    return (
        _payment(
            "attempts",
            "EUR",
            ("L", "shop-1", 800, 80, 8),
            ("M", "shop-2", 200, 0, 0),
            capture="manual",
            flow="direct",
            payment_token="pm_card_visa",
            return_url="https://shop.example/thanks?a=1&b=2",
            device_fingerprint="5f3a",
            metadata={"cart": "c-7", "note": 'tea "Grün" \\ 茶'},
            caller="shop",
            caller_key="order 4711",
        )
        .then(c.MarkUnknown, psp_reference="pi_attempts")
        .then(c.Attempt, psp="adyen", method="wallet", evidence="search_empty", payment_token="t")
        .then(c.RequireAction, url="https://psp.example/3ds?id=1")
        .then(c.Authorize, amount_minor=750, psp_reference="psp_1")
        .then(c.RequestCapture, order_id="L", amount_minor=500)
        .then(c.FailCapture, reason="try_later")
        .then(c.RequestCapture)
        .then(c.Capture, psp="stripe", psp_reference="pi_attempts")
        .then(c.Capture, psp_reference="psp_1")
        .then(c.RecordRefund, psp="stripe", psp_reference="re_attempts")
    )


def _came_too_late() -> _Story:
    return (
        _payment("honoured", "GBP", ("N", "shop-3", 600, 60, 6))
        .then(c.RequestCancel, reason="buyer_asked")
        .then(c.FailCancel, reason="processing")
        .then(c.Expire)
        .then(c.Capture, amount_minor=700, psp_reference="pi_honoured")
        .then(c.Honour)
        .then(c.Ship)
    )


def _disputed_above_all() -> _Story:
    return (
        _payment("excess", "USD", ("O", "shop-2", 1_000, 100, 0), ("P", "shop-4", 500, 50, 5))
        .then(c.Capture, psp_reference="pi_excess")
        .then(c.RecordRefund, order_id="O")
        .then(c.OpenDispute, order_id="O", amount_minor=1_000, psp_reference="dp_1")
        .then(c.LoseDispute, order_id="O", psp_reference="dp_1")
        .then(c.OpenDispute, order_id="P", amount_minor=525, psp_reference="dp_2")
        .then(c.WinDispute, order_id="P", psp_reference="dp_2")
        .then(c.OpenDispute, order_id="P", amount_minor=525, psp_reference="dp_3")
        .then(c.LoseDispute, order_id="P", psp_reference="dp_3")
        .then(c.WinDispute, order_id="P", psp_reference="dp_3")  # on appeal
    )


def _came_back() -> _Story:
    # A refund that the buyer's bank did not take, and a second charge that nobody asked for.
    return (
        _payment("came-back", "EUR", ("Q", "shop-1", 900, 90, 9), ("R", "shop-2", 300, 0, 0))
        .then(c.Capture, psp_reference="pi_back")
        .then(c.RequestRefund, refund_id="r-back", amount_minor=400)
        .then(c.RecordRefund, refund_id="r-back", psp_reference="re_back")
        .then(c.ReturnRefund, refund_id="r-back", psp_reference="re_back", reason="account_closed")
        .then(c.Capture, psp_reference="pi_again", is_stray=True)
        .then(c.OpenDispute, amount_minor=600, psp_reference="dp_again", is_stray=True)
        .then(c.WinDispute, psp_reference="dp_again")
    )


def _before() -> Iterator[_Story]:
    yield _sold_in_parts()
    yield _came_too_late()
    yield _payment("failed", "GBP", ("F", "shop-3", 99, 9, 0)).then(c.Fail, reason="card_declined")
    yield (
        _payment("expired", "BRL", ("G", "shop-3", 12_345, 1_234, 0))
        .then(c.RequireAction)
        .then(c.Expire, reason="abandoned")
    )
    yield (
        _payout("returned", "EUR", "shop-1", 300)
        .then(c.SubmitPayout, psp_reference="tp_returned")
        .then(c.MarkPayoutPaid)
        .then(c.ReturnPayout, reason="account_closed")
    )
    yield _payout("cancelled-at-once", "EUR", "shop-2", 1).then(c.CancelPayout)


def _after() -> Iterator[_Story]:
    yield _refunded_before_and_after_release()
    yield _disputed()
    yield _asked_twice()
    yield _disputed_above_all()
    yield _came_back()
    yield (
        _payment("unknown", "JPY", ("H", "shop-4", 7_777, 777, 77), method="bank_transfer")
        .then(c.MarkProcessing)
        .then(c.MarkUnknown)
        .then(c.RequireAction)
        .then(c.MarkUnknown)
        .then(c.Capture)
        .then(c.Deliver)
        .then(c.Release)
    )
    yield (
        _payment("cancelled", "USD", ("I", "shop-1", 250, 25, 5), psp="other-psp")
        .then(c.Authorize)
        .then(c.Cancel, reason="buyer_asked")
    )
    yield (
        _payment("largest", "USD", ("J", "shop-5", 10**15, 10**14, 3))
        .then(c.Capture)
        .then(c.Release)
    )
    yield _payout("paid", "JPY", "shop-4", 6_923).then(c.SubmitPayout).then(c.MarkPayoutPaid)
    yield (
        _payout("failed", "EUR", "shop-1", 200)
        .then(c.SubmitPayout, psp_reference="tp_failed")
        .then(c.FailPayout, reason="account_closed")
    )
    yield _payout("failed-at-once", "EUR", "shop-1", 199).then(c.FailPayout)
    yield (
        _payout("cancelled", "USD", "shop-2", 10)
        .then(c.SubmitPayout)
        .then(c.CancelPayout, reason="seller_asked")
    )


def before_and_after() -> tuple[Commands, Commands]:
    """All commands in their order; one payment begins before Debezium and goes on after."""
    across = (
        _payment("across", "EUR", ("K", "shop-1", 640, 64, 32))
        .then(c.Authorize)
        .then(c.Capture, amount_minor=320)
        .then(c.Capture)
        .then(c.RecordRefund, amount_minor=100)
        .then(c.Ship)
        .then(c.Release)
    ).commands
    before = [command for story in _before() for command in story.commands]
    after = [command for story in _after() for command in story.commands]
    return before + across[:3], across[3:] + after

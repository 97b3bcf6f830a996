"""Every route of the API: one table for the application, the OpenAPI document and the tests."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service import older_names, payments, reads, shown
from service.gate import GatedRoute, KeyedRoute, OptionalKeyRoute
from service.permissions import Operation
from service.shown import EXAMPLE_ID, PAYMENT_EXAMPLE

_O = Operation
_CREATE = {
    "buyer_id": "b-3", "currency": "EUR", "method": "card", "payment_token": "pm_card_visa",
    "capture": "automatic", "flow": "direct",
    "orders": [{"order_id": "o-1", "seller_id": "s-7", "amount_minor": 2500,
                "commission_minor": 250, "logistics_fee_minor": 100}],
}  # fmt: skip
_AS_OF = "2026-05-31T12:00:00Z"
_SUMS = {
    "gross_minor": 2500, "refunds_minor": 0, "chargebacks_minor": 0, "commission_minor": 250,
    "logistics_fee_minor": 100, "net_minor": 2150, "capture_count": 1, "refund_count": 0,
    "chargeback_count": 0,
}  # fmt: skip
_TIME = "2026-05-31T12:00:00.123456Z"
_EVENT = {
    "seq": 1, "type": "created", "order_id": "o-1", "status": "created", "amount_minor": 2500,
    "currency": "EUR", "psp_reference": None, "refund_id": None, "reason": None,
    "occurred_at": _TIME, "recorded_at": _TIME,
}  # fmt: skip
_UNDER_WAY = {**PAYMENT_EXAMPLE, "status": "processing", "captured_minor": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A success: what is in it, and an example."""

    model: type[BaseModel]
    example: Any
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: where it is, who answers, and what its answers are.

    `codes` are the problems beyond those that every operation of its kind can have.
    """

    operation: Operation
    method: str
    path: str
    handler: Callable[..., Awaitable[Response]]
    kind: type[GatedRoute] = GatedRoute
    answers: Mapping[int, Answer]
    body_example: Any = None
    codes: tuple[str, ...] = ()
    tag: str = "payments"
    asynchronous: bool = False
    """Whether `Prefer: respond-async` has a meaning."""


def _answer(model: type[BaseModel], example: Any, description: str) -> Answer:
    return Answer(model=model, example=example, description=description)


_PAYMENT = _answer(shown.Payment, PAYMENT_EXAMPLE, "The payment after the request")
_LATER = _answer(
    shown.Payment, _UNDER_WAY, "The outcome is not known yet, or is not waited for: read it later"
)
_REFUND = {
    "refund_id": EXAMPLE_ID, "payment_id": EXAMPLE_ID, "status": "pending", "currency": "EUR",
    "amount_minor": 1000, "orders": [{"order_id": "o-1", "amount_minor": 1000}],
    "created_at": _TIME,
}  # fmt: skip
_CHANGE_CODES = ("unknown_payment", "illegal_transition", "unknown_order")
_PAYMENT_PATH = "/v1/payments/{payment_id}"

ROUTES: tuple[Route, ...] = (
    Route(
        operation=_O.CREATE_PAYMENT, method="POST", path="/v1/payments",
        handler=payments.create_payment, kind=KeyedRoute,
        answers={201: _PAYMENT, 202: _LATER}, body_example=_CREATE,
        codes=("payment_declined", "unknown_currency", "amount_not_positive", "duplicate_order"),
        asynchronous=True,
    ),
    Route(
        operation=_O.LIST_PAYMENTS, method="GET", path="/v1/payments",
        handler=reads.list_payments,
        answers={200: _answer(shown.PaymentsPage, {"data": [PAYMENT_EXAMPLE], "next_cursor": None},
                              "A page, newest first")},
    ),
    Route(
        operation=_O.GET_PAYMENT, method="GET", path=_PAYMENT_PATH, handler=payments.get_payment,
        answers={200: _answer(shown.PaymentWithHistory, {**PAYMENT_EXAMPLE, "history": [_EVENT]},
                              "The payment as it is now")},
        codes=("unknown_payment",),
    ),
    Route(
        operation=_O.CONFIRM_PAYMENT, method="POST", path=f"{_PAYMENT_PATH}/confirm",
        handler=payments.confirm_payment, kind=KeyedRoute,
        answers={200: _PAYMENT, 202: _LATER}, body_example={},
        codes=("payment_declined", *_CHANGE_CODES), asynchronous=True,
    ),
    Route(
        operation=_O.CAPTURE_PAYMENT, method="POST", path=f"{_PAYMENT_PATH}/capture",
        handler=payments.capture_payment, kind=KeyedRoute,
        answers={200: _PAYMENT, 202: _LATER}, body_example={"amount_minor": 2500},
        codes=(*_CHANGE_CODES, "capture_failed", "capture_already_requested",
               "capture_above_authorization", "capture_above_amount", "nothing_left"),
        asynchronous=True,
    ),
    Route(
        operation=_O.CANCEL_PAYMENT, method="POST", path=f"{_PAYMENT_PATH}/cancel",
        handler=payments.cancel_payment, kind=KeyedRoute,
        answers={200: _PAYMENT, 202: _LATER}, body_example={"reason": "out_of_stock"},
        codes=(*_CHANGE_CODES, "cancel_failed", "cancel_already_requested"), asynchronous=True,
    ),
    Route(
        operation=_O.SHIP_ORDERS, method="POST", path=f"{_PAYMENT_PATH}/ship",
        handler=payments.ship_orders, kind=KeyedRoute, answers={200: _PAYMENT},
        body_example={"order_id": "o-1"}, codes=_CHANGE_CODES,
    ),
    Route(
        operation=_O.DELIVER_ORDERS, method="POST", path=f"{_PAYMENT_PATH}/deliver",
        handler=payments.deliver_orders, kind=KeyedRoute, answers={200: _PAYMENT},
        body_example={"order_id": "o-1"}, codes=_CHANGE_CODES,
    ),
    Route(
        operation=_O.REFUND_PAYMENT, method="POST", path=f"{_PAYMENT_PATH}/refunds",
        handler=payments.refund_payment, kind=KeyedRoute,
        answers={201: _answer(shown.RefundShown, _REFUND, "The refund; its amount is reserved")},
        body_example={"amount_minor": 1000, "reason": "damaged"},
        codes=(*_CHANGE_CODES, "refund_above_captured", "nothing_left", "dispute_open"),
    ),
    Route(
        operation=_O.ISSUE_IDEMPOTENCY_KEY, method="POST", path="/v1/idempotency-keys",
        handler=payments.issue_idempotency_key,
        answers={201: _answer(shown.IssuedKey,
                              {"idempotency_key": EXAMPLE_ID, "expires_at": _TIME},
                              "A key that nobody else has")},
    ),
    Route(
        operation=_O.BUYER_ORDERS, method="GET", path="/v1/buyers/{buyer_id}/orders",
        handler=reads.buyer_orders, tag="figures",
        answers={200: _answer(shown.BuyerOrdersPage, {
            "buyer_id": "b-3", "as_of": _AS_OF, "next_cursor": None,
            "data": [{"payment_id": EXAMPLE_ID, "order_id": "o-1", "seller_id": "s-7",
                      "status": "captured", "fulfilment": "open", "dispute": "none",
                      "refund_state": "none", "currency": "EUR", "amount_minor": 2500,
                      "captured_minor": 2500, "refunded_minor": 0, "updated_at": _TIME}],
        }, "A page of the buyer's orders")},
    ),
    Route(
        operation=_O.SELLER_REVENUE, method="GET", path="/v1/sellers/{seller_id}/revenue",
        handler=reads.seller_revenue, tag="figures",
        answers={200: _answer(shown.Revenue, {
            "seller_id": "s-7", "as_of": _AS_OF,
            "data": [{"currency": "EUR", **_SUMS, "days": [{"day": "2026-05-31", **_SUMS}]}],
        }, "What the seller earned")},
    ),
    Route(
        operation=_O.SELLER_BALANCE, method="GET", path="/v1/sellers/{seller_id}/balance",
        handler=reads.seller_balance, tag="figures",
        answers={200: _answer(shown.Balance, {
            "seller_id": "s-7", "as_of": _AS_OF,
            "data": [{"currency": "EUR", "pending_minor": 2150, "available_minor": 0,
                      "in_payout_minor": 0, "paid_out_minor": 0}],
        }, "What we owe the seller")},
    ),
    Route(
        operation=_O.SELLER_STATEMENT, method="GET", path="/v1/sellers/{seller_id}/statement",
        handler=reads.seller_statement, tag="figures",
        answers={200: _answer(shown.Statement, {
            "seller_id": "s-7", "as_of": _AS_OF, "next_cursor": None,
            "balances": [{"currency": "EUR", "opening_pending_minor": 0,
                          "opening_available_minor": 0, "closing_pending_minor": 2150,
                          "closing_available_minor": 0}],
            "data": [{"day": "2026-05-31", "currency": "EUR", "payment_id": EXAMPLE_ID, "seq": 2,
                      "event_type": "captured", "pending_minor": 2150, "available_minor": 0}],
        }, "The seller's statement")},
    ),
    Route(
        operation=_O.INIT_PAYMENT, method="POST", path="/payments/init",
        handler=older_names.init_payment, kind=OptionalKeyRoute, tag="older names",
        answers={201: _answer(shown.Init, {"tx_id": EXAMPLE_ID, "idempotency_key": "checkout-81",
                                           "status": "created"}, "Created; nothing is charged")},
        body_example={"user_id": "b-3", "merchant_id": "s-7", "amount": "25.00", "currency": "EUR",
                      "card_token": "pm_card_visa", "idempotency_key": "checkout-81"},
        codes=("unknown_currency", "amount_not_positive"),
    ),
    Route(
        operation=_O.CONFIRM_INIT, method="POST", path="/payments/confirm",
        handler=older_names.confirm_init, kind=OptionalKeyRoute, tag="older names",
        answers={200: _PAYMENT, 202: _LATER},
        body_example={"tx_id": EXAMPLE_ID, "payment_method": "card"},
        codes=("payment_declined", "unknown_payment", "illegal_transition"), asynchronous=True,
    ),
    Route(
        operation=_O.SCHEDULE_PAYOUT, method="POST", path="/payouts/schedule",
        handler=older_names.schedule_payout, kind=OptionalKeyRoute, tag="older names",
        answers={201: _answer(shown.ScheduledPayout,
                              {"payout_id": EXAMPLE_ID, "status": "requested"},
                              "Asked for; the amount has left the available balance")},
        body_example={"merchant_id": "s-7", "amount": "21.50", "currency": "EUR"},
        codes=("payout_above_balance", "unknown_currency", "amount_not_positive"),
    ),
    Route(
        operation=_O.USER_TRANSACTIONS, method="GET", path="/transactions/{user_id}",
        handler=reads.user_transactions, tag="older names",
        answers={200: _answer(shown.TransactionsPage, {
            "data": [{"tx_id": EXAMPLE_ID, "direction": "in", "status": "captured",
                      "currency": "EUR", "created_at": _TIME, "updated_at": _TIME,
                      "amount_minor": 2500, "captured_minor": 2500, "refunded_minor": 0,
                      "buyer_id": "b-3"}],
            "next_cursor": None,
        }, "A page, newest first")},
    ),
)  # fmt: skip

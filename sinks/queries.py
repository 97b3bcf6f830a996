"""Common queries on the views, such as those of the demo.

They read the views like an analyst and return amounts in minor units. The server binds the
parameters, so no id ever becomes SQL text. Every function raises what the client raises; see
`sinks.client.translated`.
"""

from datetime import datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

_EVENT_COUNT = "SELECT count() FROM payment_events"
_BUSIEST_BUYER = """
SELECT buyer_id FROM buyer_orders
GROUP BY buyer_id
ORDER BY countIf(refund_state != 'none') > 0 DESC, count() DESC, buyer_id
LIMIT 1
"""
_ORDERS_OF_BUYER = """
SELECT order_id, seller_id, status, fulfilment, refund_state, currency, amount_minor,
       refunded_minor, updated_at
FROM buyer_orders
WHERE buyer_id = {buyer:String}
ORDER BY refund_state = 'none', updated_at DESC, order_id
LIMIT {limit:UInt32}
"""
_TOP_SELLERS = """
SELECT currency, seller_id, sum(gross_minor), sum(refunds_minor), sum(chargebacks_minor),
       sum(commission_minor), sum(logistics_fee_minor), sum(net_minor) AS total_net_minor
FROM seller_revenue
GROUP BY currency, seller_id
ORDER BY currency, total_net_minor DESC, seller_id
LIMIT {limit:UInt32} BY currency
"""
_TRIAL_BALANCE = """
SELECT account_type, currency, sum(amount_minor)
FROM ledger_entries
GROUP BY account_type, currency
ORDER BY account_type, currency
"""


class BuyerOrder(NamedTuple):
    """One order as its buyer sees it."""

    order_id: str
    seller_id: str
    status: str
    fulfilment: str
    refund_state: str
    currency: str
    amount_minor: int
    refunded_minor: int
    updated_at: datetime


class SellerTotals(NamedTuple):
    """What one seller earned in one currency, over all days."""

    currency: str
    seller_id: str
    gross_minor: int
    refunds_minor: int
    chargebacks_minor: int
    commission_minor: int
    logistics_fee_minor: int
    net_minor: int


class AccountBalance(NamedTuple):
    """All accounts of one type in one currency; debit positive, credit negative."""

    account_type: str
    currency: str
    balance_minor: int


def event_count(client: Client) -> int:
    """Count the visible events, each once."""
    return int(client.query(_EVENT_COUNT).result_rows[0][0])


def busiest_buyer(client: Client) -> str | None:
    """Return the buyer with the most orders, preferably with a refund; None without orders."""
    found = client.query(_BUSIEST_BUYER).result_rows
    return str(found[0][0]) if found else None


def orders_of_buyer(client: Client, buyer_id: str, limit: int) -> list[BuyerOrder]:
    """Return a buyer's orders: those with a refund first, then the latest."""
    found = client.query(_ORDERS_OF_BUYER, parameters={"buyer": buyer_id, "limit": limit})
    return [BuyerOrder(*row) for row in found.result_rows]


def top_sellers(client: Client, limit: int) -> list[SellerTotals]:
    """Return the `limit` sellers who earned most in each currency."""
    found = client.query(_TOP_SELLERS, parameters={"limit": limit})
    return [SellerTotals(*row) for row in found.result_rows]


def trial_balance(client: Client) -> list[AccountBalance]:
    """Return each account type's balance by currency; they sum to zero per currency."""
    return [AccountBalance(*row) for row in client.query(_TRIAL_BALANCE).result_rows]

"""Prints what a user wants to see after an import: orders, revenue, and the trial balance.

Every figure comes from ClickHouse through the same views that analysts use.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clickhouse_connect.driver.client import Client
from rich import box
from rich.console import Console
from rich.table import Table

from schemas.money import format_minor

BUSIEST_BUYER = """
SELECT buyer_id FROM buyer_orders
GROUP BY buyer_id
ORDER BY countIf(refund_state != 'none') > 0 DESC, count() DESC, buyer_id
LIMIT 1
"""
BUYER_ORDERS = """
SELECT order_id, seller_id, status, fulfilment, refund_state, currency, amount_minor,
       refunded_minor, updated_at
FROM buyer_orders
WHERE buyer_id = {buyer:String}
ORDER BY refund_state = 'none', updated_at DESC, order_id
LIMIT {limit:UInt32}
"""
TOP_SELLERS = """
SELECT currency, seller_id, sum(gross_minor), sum(refunds_minor), sum(chargebacks_minor),
       sum(commission_minor), sum(logistics_fee_minor), sum(net_minor) AS net
FROM seller_revenue
GROUP BY currency, seller_id
ORDER BY currency, net DESC
LIMIT {limit:UInt32} BY currency
"""
TRIAL_BALANCE = """
SELECT account_type, currency, sum(amount_minor)
FROM ledger_entries
GROUP BY account_type, currency
ORDER BY account_type, currency
"""
SHOWN_ORDERS = 8
SHOWN_SELLERS = 2


def show(client: Client, console: Console) -> None:
    """Print the three tables; a database without orders prints empty ones."""
    _buyer_orders(client, console)
    _top_sellers(client, console)
    _trial_balance(client, console)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose columns of figures are right-aligned."""
    cells = [tuple(row) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        figures = bool(cells) and all(row[place][-1:].isdigit() or not row[place] for row in cells)
        table.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _buyer_orders(client: Client, console: Console) -> None:
    buyers = client.query(BUSIEST_BUYER).result_rows
    if not buyers:
        return
    buyer = buyers[0][0]
    orders = client.query(BUYER_ORDERS, parameters={"buyer": buyer, "limit": SHOWN_ORDERS})
    rows = [
        (
            *(order_id, seller, f"{updated_at:%Y-%m-%d}", status, fulfilment),
            *(currency, _amount(amount, currency), _amount(refunded or None, currency), state),
        )
        for order_id, seller, status, fulfilment, state, currency, amount, refunded, (
            updated_at
        ) in orders.result_rows
    ]
    columns = (
        *("order", "seller", "updated", "status", "fulfilment"),
        *("", "amount", "refunded", "refund"),
    )
    console.print(_table(f"Orders of buyer {buyer} (the refunded first)", columns, rows))


def _top_sellers(client: Client, console: Console) -> None:
    sellers = client.query(TOP_SELLERS, parameters={"limit": SHOWN_SELLERS}).result_rows
    rows = [
        (seller, currency, *(_amount(amount, currency) for amount in amounts))
        for currency, seller, *amounts in sellers
    ]
    columns = (
        *("seller", "", "gross", "refunds", "chargebacks"),
        *("commission", "logistics", "net"),
    )
    console.print(_table("Revenue of the top sellers in each currency", columns, rows))


def _trial_balance(client: Client, console: Console) -> None:
    balances: dict[str, dict[str, int]] = defaultdict(dict)
    currencies: set[str] = set()
    for account_type, currency, amount in client.query(TRIAL_BALANCE).result_rows:
        balances[account_type][currency] = amount
        currencies.add(currency)
    columns = sorted(currencies)
    rows = [
        (account_type, *(_amount(amounts.get(currency), currency) for currency in columns))
        for account_type, amounts in sorted(balances.items())
    ]
    totals = [
        sum(amounts.get(currency, 0) for amounts in balances.values()) for currency in columns
    ]
    table = _table("Trial balance (debit positive)", ("account", *columns), rows)
    table.add_section()
    table.add_row(
        "total",
        *(_amount(total, currency) for total, currency in zip(totals, columns, strict=True)),
    )
    console.print(table)


def _amount(amount_minor: int | None, currency: str) -> str:
    return "" if amount_minor is None else format_minor(amount_minor, currency).split()[0]

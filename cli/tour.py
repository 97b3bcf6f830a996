"""Prints what a user wants to see after an import: orders, revenue, and the trial balance.

The questions are those of `sinks.queries`; here is only how the answers look.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clickhouse_connect.driver.client import Client
from rich import box
from rich.console import Console
from rich.table import Table

from schemas.money import format_minor
from sinks import queries

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
    buyer = queries.busiest_buyer(client)
    if buyer is None:
        return
    rows = [
        (
            *(order.order_id, order.seller_id, f"{order.updated_at:%Y-%m-%d}"),
            *(order.status, order.fulfilment, order.currency),
            _amount(order.amount_minor, order.currency),
            _amount(order.refunded_minor or None, order.currency),
            order.refund_state,
        )
        for order in queries.orders_of_buyer(client, buyer, SHOWN_ORDERS)
    ]
    columns = (
        *("order", "seller", "updated", "status", "fulfilment"),
        *("", "amount", "refunded", "refund"),
    )
    console.print(_table(f"Orders of buyer {buyer} (the refunded first)", columns, rows))


def _top_sellers(client: Client, console: Console) -> None:
    rows = [
        (seller_id, currency, *(_amount(amount, currency) for amount in amounts))
        for currency, seller_id, *amounts in queries.top_sellers(client, SHOWN_SELLERS)
    ]
    columns = (
        *("seller", "", "gross", "refunds", "chargebacks"),
        *("commission", "logistics", "net"),
    )
    console.print(_table("Revenue of the top sellers in each currency", columns, rows))


def _trial_balance(client: Client, console: Console) -> None:
    balances: dict[str, dict[str, int]] = defaultdict(dict)
    for account_type, currency, amount in queries.trial_balance(client):
        balances[account_type][currency] = amount
    columns = sorted({currency for amounts in balances.values() for currency in amounts})
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

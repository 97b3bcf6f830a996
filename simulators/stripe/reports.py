"""The nightly file of what was settled on a day: Stripe's payout reconciliation report, itemized.

Reports have decimal amounts in major units, unlike the API
(https://docs.stripe.com/reports/report-types/payout-reconciliation).
"""

import csv
import io
import sqlite3
from datetime import UTC, datetime
from typing import Any

from simulators.clock import DAY
from simulators.stripe.amounts import major
from simulators.stripe.ids import NUMBER_LENGTH
from simulators.stripe.store import Body, decode

COLUMNS = (
    "automatic_payout_id", "automatic_payout_effective_at", "balance_transaction_id", "created_utc",
    "available_on_utc", "currency", "gross", "fee", "net", "reporting_category", "source_id",
    "description", "charge_id", "payment_intent_id", "refund_id", "dispute_id",
    "payment_metadata[purser_payment_id]", "refund_metadata[purser_refund_id]",
)  # fmt: skip


def settlement(reading: sqlite3.Connection, day: int) -> str:
    """What was settled on a day (counted from 1970), with the payouts of that day, as CSV."""
    file = io.StringIO()
    table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\r\n")
    table.writeheader()
    payouts = [
        (decode(body), first, last)
        for body, first, last in reading.execute(
            "SELECT body, first_day, last_day FROM payouts WHERE last_day >= ?", (day,)
        )
    ]
    rows = reading.execute(
        "SELECT body FROM balance_transactions WHERE (settle_day = ?1 AND type <> 'payout')"
        " OR (type = 'payout' AND settle_day = ?1 + 1) ORDER BY n",
        (day,),
    )
    for (raw,) in rows:
        transaction = decode(raw)
        payout = _payout_of(payouts, transaction, day)
        table.writerow(_row(transaction, payout) | _objects(reading, transaction["source"]))
    return file.getvalue()


def _payout_of(payouts: list[Any], transaction: Body, day: int) -> Body | None:
    """The payout that paid a transaction, or that it is."""
    for body, first, last in payouts:
        same = body["currency"] == transaction["currency"] and first <= day <= last
        if transaction["source"] == body["id"] or (same and transaction["type"] != "payout"):
            return dict(body)
    return None


def _row(transaction: Body, payout: Body | None) -> dict[str, str]:
    currency = transaction["currency"]
    row = {
        "balance_transaction_id": transaction["id"],
        "created_utc": _time(transaction["created"]),
        "available_on_utc": _time(transaction["available_on"]),
        "currency": currency,
        "gross": major(transaction["amount"], currency),
        "fee": major(transaction["fee"], currency),
        "net": major(transaction["net"], currency),
        "reporting_category": transaction["reporting_category"],
        "source_id": transaction["source"],
        "description": transaction["description"] or "",
    }
    if payout is not None:
        row["automatic_payout_id"] = payout["id"]
        row["automatic_payout_effective_at"] = _time(payout["created"] // DAY * DAY)
    return row


def _objects(reading: sqlite3.Connection, source: str) -> dict[str, str]:
    """What a transaction is about, down to our own ids."""
    row: dict[str, str] = {}
    prefix = source.partition("_")[0]
    charge_id: str | None = source if prefix in ("ch", "py") else None
    if prefix in ("re", "pyr"):
        refund = _find(reading, "refunds", source)
        row["refund_id"] = source
        row["refund_metadata[purser_refund_id]"] = refund["metadata"].get("purser_refund_id", "")
        charge_id = refund["charge"]
    elif prefix == "dp":
        row["dispute_id"] = source
        charge_id = _find(reading, "disputes", source)["charge"]
    if charge_id is not None:
        charge = _find(reading, "charges", charge_id)
        row["charge_id"] = charge_id
        row["payment_intent_id"] = charge["payment_intent"]
        row["payment_metadata[purser_payment_id]"] = charge["metadata"].get("purser_payment_id", "")
    return row


def _find(reading: sqlite3.Connection, table: str, identity: str) -> Body:
    return decode(
        reading.execute(
            f"SELECT body FROM {table} WHERE n = ?", (int(identity[-NUMBER_LENGTH:]),)
        ).fetchone()[0]
    )


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")

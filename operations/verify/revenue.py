"""The question about sellers' totals: are they the sums of the ledger's entries?

`seller_revenue` holds absolute totals and the number of entries that each counts. Entries are never
removed, so two sides with the same count have counted the same entries and must have equal sums,
even under traffic. The side with the smaller count must catch up.

The sums are added up in another type than the totals (`operations.verify.wide`), and `net` from
other entries: the sink subtracts the platform's accounts from the gross, this module adds the
seller's own. What people read is compared, the view, so a view that narrows a total shows up too.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from operations.verify.compare import Key, Suspect, column_differences
from operations.verify.event_question import summary
from operations.verify.report import Finding
from operations.verify.source import EventKey, Window
from operations.verify.views import Views
from operations.verify.wide import wide
from schemas.accounts import SELLER_ACCOUNTS, AccountType
from schemas.effects import Revenue, event_types
from schemas.sql_words import clickhouse_literal, quoted

_KEY = ("seller_id", "currency", "day")


def _is(column: Revenue) -> str:
    """Return the condition that an entry's event counts in a column, by the table of effects."""
    events = event_types(lambda effect: effect.revenue is column)
    return f"type IN ({quoted(events)})"


def _count(column: Revenue) -> str:
    """Return the number of events that put something into a column; a reversal takes it out."""
    events = event_types(lambda effect: effect.revenue is column and effect.refunded != -1)
    return f"uniqExactIf((payment_id, seq), type IN ({quoted(events)}))"


_SELLER = quoted((AccountType.SELLER_PENDING, AccountType.SELLER_AVAILABLE))
_EARNS = " OR ".join(map(_is, (Revenue.GROSS, Revenue.REFUNDS, Revenue.CHARGEBACKS)))

# Column of the view -> its value from a key's entries (credit is negative there).
_TOTALS = {
    "gross_minor": f"-sumIf(amount, {_is(Revenue.GROSS)})",
    "refunds_minor": f"sumIf(amount, {_is(Revenue.REFUNDS)})",
    "chargebacks_minor": f"sumIf(amount, {_is(Revenue.CHARGEBACKS)})",
    "commission_minor": "-sumIf(amount, account = 'platform_commission')",
    "logistics_fee_minor": "-sumIf(amount, account = 'platform_logistics')",
    "net_minor": f"-sumIf(amount, account IN ({_SELLER}) AND ({_EARNS}))",
    "pending_delta_minor": "-sumIf(amount, account = 'seller_pending')",
    "available_delta_minor": "-sumIf(amount, account = 'seller_available')",
    "capture_count": _count(Revenue.GROSS),
    "refund_count": _count(Revenue.REFUNDS),
    "chargeback_count": _count(Revenue.CHARGEBACKS),
}
_NAMES = tuple(_TOTALS)


def _sides(condition: str, has_event: str = "0") -> str:
    """Return SQL per key: `e_*` from the entries, `f_*` from the view, and both entry counts.

    `has_event` is the condition that an entry's event has arrived; entries are written before it.
    """
    totals = ", ".join(f"{wide(sql)} AS {name}" for name, sql in _TOTALS.items())
    names = ", ".join(_NAMES)
    pairs = ", ".join(
        f"sumIf({name}, is_view = 0) AS e_{name}, sumIf({name}, is_view = 1) AS f_{name}"
        for name in _NAMES
    )
    kept = ", ".join(f"{wide(name)} AS {name}" for name in _NAMES)
    return f"""
    SELECT seller AS seller_id, code AS currency, toString(date) AS day,
        sumIf(counted, is_view = 0) AS expected, sumIf(counted, is_view = 1) AS found,
        countIf(is_view = 1) AS view_rows, countIf(is_view = 0) AS entry_rows,
        sum(with_event) AS certain, {pairs}
    FROM (
        SELECT seller, code, date, counted, {names}, 1 AS is_view, 0 AS with_event FROM (
            SELECT seller_id AS seller, toString(currency) AS code, toDate(day) AS date,
                toInt64(entry_count) AS counted, {kept}
            FROM seller_revenue WHERE {condition.format(seller="seller_id")}
        )
        UNION ALL
        SELECT seller, code, date, counted, {names}, 0, with_event FROM (
            SELECT seller, code, date, toInt64(count()) AS counted, {totals},
                countIf(has_event) AS with_event
            FROM (
                SELECT account_id AS seller, toString(currency) AS code, toDate(day) AS date,
                    toString(account_type) AS account, toString(event_type) AS type,
                    {wide("amount_minor")} AS amount, payment_id, seq,
                    {has_event} AS has_event
                FROM ledger_entries_raw FINAL
                WHERE account_type IN ({quoted(sorted(SELLER_ACCOUNTS))})
                    AND {condition.format(seller="account_id")}
            )
            GROUP BY seller, code, date
        )
    )
    GROUP BY seller, code, date
    """


_DIFFERS = " OR ".join(f"e_{name} != f_{name}" for name in _NAMES)


@dataclass(frozen=True, slots=True)
class RevenueQuestion:
    """`seller_revenue` = its entries; keys are (seller_id, currency, day)."""

    name: str = "seller_revenue"
    proves: str = "every seller's daily totals are the sums of the ledger's entries"

    def everywhere(self, window: Window, limit: int) -> str:
        """Select all keys with a day in the window."""
        if window.is_open:
            return self._summary("1", limit)
        since, until = window.bounds()
        return self._summary(
            f"(day >= toDate('{since[:10]}') AND day < toDate('{until[:10]}'))", limit
        )

    def among(self, keys: Collection[Key], limit: int) -> str:
        """Select these keys."""
        condition = self._keys(keys)
        payments = (
            "SELECT payment_id FROM ledger_entries_raw"
            f" WHERE {condition.format(seller='account_id')}"
        )
        has_event = (
            "(payment_id, seq) IN"
            f" (SELECT payment_id, seq FROM payment_events_raw WHERE payment_id IN ({payments}))"
        )
        return self._summary(condition, limit, has_event)

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """Return None: totals name no event."""
        return None

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """Describe the suspects with the totals that differ."""
        if not suspects:
            return []
        rows = views.dictionaries(_sides(self._keys([suspect.key for suspect in suspects])))
        by_key = {tuple(row[name] for name in _KEY): row for row in rows}
        return [self._finding(suspect, by_key.get(suspect.key, {})) for suspect in suspects]

    def _finding(self, suspect: Suspect, row: dict[str, object]) -> Finding:
        problem = "different"
        if row and not row["view_rows"]:
            problem = "missing"
        elif row and not row["entry_rows"]:
            problem = "extra"
        elif suspect.found < suspect.expected:
            problem = "stale"
        columns = column_differences(
            {name: value for name, value in row.items() if name[:2] in ("e_", "f_")}
            | {"e_entry_count": suspect.expected, "f_entry_count": suspect.found}
        )
        return Finding(
            problem=problem, where=dict(zip(_KEY, suspect.key, strict=True)), columns=columns
        )

    def _keys(self, keys: Collection[Key]) -> str:
        # Use the first columns of both tables' sorting keys, so that little is read.
        sellers = ", ".join(sorted({clickhouse_literal(str(seller)) for seller, _, _ in keys}))
        triples = ", ".join(
            f"({clickhouse_literal(str(seller))}, {clickhouse_literal(str(currency))}, '{day}')"
            for seller, currency, day in keys
        )
        return (
            f"{{seller}} IN ({sellers or clickhouse_literal('')})"
            f" AND ({{seller}}, toString(currency), toString(day)) IN ({triples})"
        )

    def _summary(self, condition: str, limit: int, has_event: str = "0") -> str:
        groups = f"""
        SELECT *, expected != found OR view_rows != 1 OR entry_rows = 0 OR {_DIFFERS} AS differs,
            expected = found AS definite
        FROM ({_sides(condition, has_event)})
        """
        return summary(_KEY, groups, limit)


REVENUE = RevenueQuestion()

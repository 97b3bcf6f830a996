"""The question about sellers' balances: do they add up what they are computed from?

`seller_balances` holds no rows: it adds up rolled-up totals, whole months where it can, and
`payouts`. This one compares the figures that people read with sums of its own over the days of
`seller_revenue` and over `payouts`, which other questions prove (`operations.verify.wide`). So it
also proves the months.

Both sides say how much they have seen: the number of entries that the totals counted, and the
number of the payouts' events. Both numbers only grow, so a side that is read later has seen at
least as much. Sides with the same two numbers have seen the same rows and must be equal, even
under traffic.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from operations.verify.compare import Key, Suspect, column_differences
from operations.verify.event_question import summary
from operations.verify.report import Finding
from operations.verify.source import EventKey, Window
from operations.verify.views import Views
from operations.verify.wide import wide
from schemas.sql_words import clickhouse_literal

_KEY = ("seller_id", "currency")
_NAMES = (
    *("pending_minor", "available_minor", "in_payout_minor", "paid_out_minor"),
    *("entry_count", "payout_event_count"),
)
_ZERO = wide("0")


def _amount_if(condition: str) -> str:
    """Return a payout's amount where its status fulfils the condition, else 0."""
    return f"if({condition}, {wide('amount_minor')}, {_ZERO})"


def _sides(condition: str) -> str:
    """Return SQL per key: `e_*` added up here, `f_*` of the view, and how much each has seen."""
    pairs = ", ".join(
        f"sumIf({name}, is_view = 0) AS e_{name}, sumIf({name}, is_view = 1) AS f_{name}"
        for name in _NAMES
    )
    of_view = ", ".join(wide(name) for name in _NAMES)
    return f"""
    SELECT seller AS seller_id, code AS currency, {pairs},
        e_entry_count + e_payout_event_count AS expected,
        f_entry_count + f_payout_event_count AS found,
        countIf(is_view = 1) AS view_rows, countIf(is_view = 0) AS table_rows
    FROM (
        SELECT seller_id AS seller, toString(currency) AS code,
            {wide("pending_delta_minor")} AS pending_minor,
            {wide("available_delta_minor")} AS available_minor,
            {_ZERO} AS in_payout_minor, {_ZERO} AS paid_out_minor,
            {wide("entry_count")} AS entry_count, {_ZERO} AS payout_event_count, 0 AS is_view
        FROM seller_revenue WHERE {condition}
        UNION ALL
        SELECT seller_id, toString(currency), {_ZERO}, {_ZERO},
            {_amount_if("status IN ('requested', 'submitted')")},
            {_amount_if("status = 'paid'")}, {_ZERO}, {wide("seq")}, 0
        FROM payouts_raw FINAL WHERE {condition}
        UNION ALL
        SELECT seller_id, toString(currency), {of_view}, 1
        FROM seller_balances WHERE {condition}
    )
    GROUP BY seller, code
    """


_DIFFERS = " OR ".join(f"e_{name} != f_{name}" for name in _NAMES)


@dataclass(frozen=True, slots=True)
class BalancesQuestion:
    """`seller_balances` = its tables; keys are (seller_id, currency)."""

    name: str = "seller_balances"
    proves: str = "every seller's balances are the sums of the daily totals and of the payouts"

    def everywhere(self, window: Window, limit: int) -> str:
        """Select all sellers that have totals in the window; a balance has no day."""
        if window.is_open:
            return self._summary("1", limit)
        since, until = window.bounds()
        return self._summary(
            "seller_id IN (SELECT seller_id FROM seller_revenue"
            f" WHERE day >= toDate('{since[:10]}') AND day < toDate('{until[:10]}'))",
            limit,
        )

    def among(self, keys: Collection[Key], limit: int) -> str:
        """Select these keys."""
        return self._summary(self._keys(keys), limit)

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """Return None: balances name no event."""
        return None

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """Describe the suspects with the columns that differ."""
        if not suspects:
            return []
        rows = views.dictionaries(_sides(self._keys([suspect.key for suspect in suspects])))
        by_key = {tuple(row[name] for name in _KEY): row for row in rows}
        return [self._finding(suspect, by_key.get(suspect.key, {})) for suspect in suspects]

    def _finding(self, suspect: Suspect, row: dict[str, object]) -> Finding:
        problem = "different"
        if row and not row["view_rows"]:
            problem = "missing"
        elif row and not row["table_rows"]:
            problem = "extra"
        elif suspect.found < suspect.expected:
            problem = "stale"
        return Finding(
            problem=problem,
            where=dict(zip(_KEY, suspect.key, strict=True)),
            columns=column_differences(row),
        )

    def _keys(self, keys: Collection[Key]) -> str:
        # The sellers alone use the index.
        sellers = ", ".join(sorted({clickhouse_literal(str(seller)) for seller, _ in keys}))
        pairs = ", ".join(
            f"({clickhouse_literal(str(seller))}, {clickhouse_literal(str(currency))})"
            for seller, currency in keys
        )
        return f"seller_id IN ({sellers}) AND (seller_id, toString(currency)) IN ({pairs})"

    def _summary(self, condition: str, limit: int) -> str:
        groups = f"""
        SELECT *, expected AS certain, view_rows != 1 OR table_rows = 0 OR {_DIFFERS} AS differs,
            e_entry_count = f_entry_count AND e_payout_event_count = f_payout_event_count
                AS definite
        FROM ({_sides(condition)})
        """
        return summary(_KEY, groups, limit)


BALANCES = BalancesQuestion()

"""The questions about all accounts' totals: are they the sums of the ledger's entries?

`account_days` and `account_balances` show a row for each account whose sum is not zero. So a row
that lacks says that the sum is zero. What tells how much a view has seen is the number of entries,
which counts all accounts of one id together. Therefore an id's accounts are compared together: with
the same number of entries both sides have seen the same ones, and every sum must be equal, even
under traffic. An id without any row has seen nothing, or entries that sum to zero.

The sums are added up in another type than the totals (`operations.verify.wide`).
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

_VIEW, _ENTRIES, _CERTAIN = "'view'", "'entries'", "'certain'"

# Entries are written before their event, and noted for the totals after it.
_OF_EVENTS = """
    SELECT account_id, toString(currency), toDate(day), toString(account_type),
        {zero}, toInt64(count()), {side}
    FROM ledger_entries_raw FINAL
    WHERE {condition} AND (payment_id, seq) IN (
        SELECT payment_id, seq FROM payment_events_raw WHERE payment_id IN (
            SELECT payment_id FROM ledger_entries_raw WHERE {condition}))
    GROUP BY account_id, currency, day, account_type
"""
# A balance follows from the same totals as the days, so it has seen what they have.
_OF_DAYS = """
    SELECT account_id, toString(currency), toDate(0), '', {zero}, toInt64(max(entry_count)), {side}
    FROM account_days WHERE {condition} GROUP BY account_id, currency, day
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsQuestion:
    """A view of accounts = the ledger's entries.

    - `amount`: the view's column with the sum.
    - `key`: account_id and currency, and the day if the view has one.
    - `certain`: SQL for what the view must have seen at the next look.
    """

    name: str
    proves: str
    amount: str
    key: tuple[str, ...]
    certain: str

    def everywhere(self, window: Window, limit: int) -> str:
        """Select all keys with a day in the window; a balance has no day."""
        if window.is_open:
            return self._summary("1", limit)
        since, until = window.bounds()
        condition = f"day >= toDate('{since[:10]}') AND day < toDate('{until[:10]}')"
        if "day" not in self.key:
            condition = (
                f"account_id IN (SELECT account_id FROM ledger_entries_raw WHERE {condition})"
            )
        return self._summary(f"({condition})", limit)

    def among(self, keys: Collection[Key], limit: int) -> str:
        """Select these keys."""
        condition = self._keys(keys)
        certain = self.certain.format(condition=condition, zero=wide("0"), side=_CERTAIN)
        return self._summary(condition, limit, f"UNION ALL {certain}")

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """Return None: totals name no event."""
        return None

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """Describe the suspects with the accounts whose sums differ."""
        if not suspects:
            return []
        rows = views.dictionaries(self._groups(self._keys([one.key for one in suspects])))
        by_key = {tuple(row[name] for name in self.key): row for row in rows}
        return [self._finding(suspect, by_key.get(suspect.key, {})) for suspect in suspects]

    def _finding(self, suspect: Suspect, row: dict[str, object]) -> Finding:
        problem = "different"
        if row and not row["view_rows"]:
            problem = "missing"
        elif not suspect.expected:
            problem = "extra"
        elif suspect.found < suspect.expected:
            problem = "stale"
        sides = {"e_entry_count": suspect.expected, "f_entry_count": suspect.found}
        for account_type, expected, found in row.get("amounts", ()):  # type: ignore[attr-defined]
            sides |= {f"e_{account_type}_minor": expected, f"f_{account_type}_minor": found}
        return Finding(
            problem=problem,
            where=dict(zip(self.key, suspect.key, strict=True)),
            columns=column_differences(sides),
        )

    def _keys(self, keys: Collection[Key]) -> str:
        # The ids alone use the index.
        ids = ", ".join(sorted({clickhouse_literal(str(key[0])) for key in keys}))
        named = ", ".join(f"({', '.join(clickhouse_literal(str(p)) for p in key)})" for key in keys)
        columns = ", ".join(f"toString({name})" for name in self.key)
        return f"account_id IN ({ids}) AND ({columns}) IN ({named})"

    def _groups(self, condition: str, certain: str = "") -> str:
        """Return SQL per key: how much each side has seen, and the accounts that differ."""
        date = "toDate(day)" if "day" in self.key else "toDate(0)"
        return f"""
        SELECT id AS account_id, code AS currency, toString(date) AS day,
            sum(of_entries) AS expected, max(of_view) AS found, sum(of_certain) AS certain,
            sum(rows) AS view_rows,
            groupArrayIf((type, e_amount, f_amount), e_amount != f_amount) AS amounts
        FROM (
            SELECT id, code, date, type,
                sumIf(amount, side = {_ENTRIES}) AS e_amount,
                sumIf(amount, side = {_VIEW}) AS f_amount,
                sumIf(entries, side = {_ENTRIES}) AS of_entries,
                maxIf(entries, side = {_VIEW}) AS of_view,
                sumIf(entries, side = {_CERTAIN}) AS of_certain,
                countIf(side = {_VIEW}) AS rows
            FROM (
                SELECT account_id AS id, toString(currency) AS code, {date} AS date,
                    toString(account_type) AS type, {wide(self.amount)} AS amount,
                    toInt64(entry_count) AS entries, {_VIEW} AS side
                FROM {self.name} WHERE {condition}
                UNION ALL
                SELECT account_id, toString(currency), {date}, toString(account_type),
                    sum({wide("amount_minor")}), toInt64(count()), {_ENTRIES}
                FROM ledger_entries_raw FINAL WHERE {condition}
                GROUP BY account_id, currency, {date}, account_type
                {certain}
            )
            GROUP BY id, code, date, type
        )
        GROUP BY id, code, date
        """

    def _summary(self, condition: str, limit: int, certain: str = "") -> str:
        groups = f"""
        SELECT *, expected = found AS definite,
            notEmpty(amounts) OR found NOT IN (0, expected) AS differs
        FROM ({self._groups(condition, certain)})
        """
        return summary(self.key, groups, limit)


ACCOUNT_DAYS = AccountsQuestion(
    name="account_days",
    proves="every account's daily sums are those of the ledger's entries",
    amount="amount_minor",
    key=("account_id", "currency", "day"),
    certain=_OF_EVENTS,
)
ACCOUNT_BALANCES = AccountsQuestion(
    name="account_balances",
    proves="every account's balance is the sum of all its entries in the ledger",
    amount="balance_minor",
    key=("account_id", "currency"),
    certain=_OF_DAYS,
)

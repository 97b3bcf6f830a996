"""Questions about the views: SQL that recomputes each view from the events.

The SQL is written apart from the fold and from the sink that maintains the totals, so a mistake
there shows up here as a difference. What they share is declared in `schemas`: the columns, the
sellers' accounts and the table of effects, from which the lists of events come. A wrong effect
would be wrong on both sides, so `tests/unit/test_effects.py` states each a second time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from operations.verify.compare import Key, Suspect, column_differences
from operations.verify.old_rows import events_table
from operations.verify.report import Finding
from operations.verify.source import EventKey, Window
from operations.verify.views import Views, days, uuids


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuestion:
    """A question whose keys begin with a payment_id.

    - `sql`: groups with columns of `key`, `expected`, `found`, `differs`, `definite`. `{table}`
      stands for the events, `{events}` and `{others}` for the conditions that restrict both sides.
    - `others_day`: expression for the other side's day. If empty, it is restricted by payment.
    - `other_id`: the other side's column for the payment's id.
    - `claims_seq`: `found` is a seq that the other side has seen (else the key's second part is).
    - `names_event`: whether a view that is ahead claims one particular event.
    - `details`: SQL for the columns `e_x`, `f_x` of given suspects; placeholders as above.
    """

    name: str
    proves: str
    problem: str
    key: tuple[str, ...]
    sql: str
    details: str
    others_day: str = ""
    other_id: str = "payment_id"
    claims_seq: bool = False
    names_event: bool = True

    def everywhere(self, window: Window, limit: int) -> str:
        """Select all keys of a window."""
        if window.is_open:
            return self._summary("1", "1", limit)
        if self.others_day:
            since, until = window.bounds()
            day = self.others_day
            others = f"({day} >= toDate('{since[:10]}') AND {day} < toDate('{until[:10]}'))"
            return self._summary(days(window), others, limit)
        # The latest state of an order needs all its events, including those outside the window.
        touched = f"(SELECT payment_id FROM payment_events_raw WHERE {days(window)})"
        return self._summary(f"payment_id IN {touched}", f"{self.other_id} IN {touched}", limit)

    def among(self, keys: Collection[Key], limit: int) -> str:
        """Select all keys of these payments."""
        return self._summary(*self._payments(keys), limit)

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """Return the event that the other side has seen."""
        if not self.names_event:
            return None
        return str(suspect.key[0]), suspect.found if self.claims_seq else int(suspect.key[1])

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """Describe the suspects with the columns that differ."""
        if not suspects:
            return []
        events, others = self._payments([suspect.key for suspect in suspects])
        rows = views.dictionaries(_filled(self.details, events, others))
        by_key = {tuple(row[name] for name in self.key): row for row in rows}
        return [
            Finding(
                problem=self._problem(suspect),
                where=dict(zip(self.key, suspect.key, strict=True)),
                columns=column_differences(by_key.get(suspect.key, {})),
            )
            for suspect in suspects
        ]

    def _problem(self, suspect: Suspect) -> str:
        if self.problem:
            return self.problem
        if suspect.found == 0:
            return "missing"
        if suspect.expected == 0:
            return "extra"
        return "stale" if suspect.found < suspect.expected and self.claims_seq else "different"

    def _payments(self, keys: Collection[Key]) -> tuple[str, str]:
        ids = uuids({str(key[0]) for key in keys})
        return f"payment_id IN ({ids})", f"{self.other_id} IN ({ids})"

    def _summary(self, events: str, others: str, limit: int) -> str:
        groups = _filled(self.sql, events, others)
        return summary(self.key, f"SELECT *, expected AS certain FROM ({groups})", limit)


def _filled(sql: str, events: str, others: str) -> str:
    return sql.format(table=events_table(), events=events, others=others)


def summary(key: tuple[str, ...], groups: str, limit: int) -> str:
    """Return SQL for one row, however many groups there are; it gathers few differing keys."""
    versions = ("toInt64(expected)", "toInt64(found)", "toInt64(certain)", "toUInt8(definite)")
    columns = ", ".join((*key, *versions))
    return (
        f"SELECT count(), countIf(differs), groupArrayIf({limit})(({columns}), differs)"
        f" FROM ({groups})"
    )

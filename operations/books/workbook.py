"""Both sides beside each other in a temporary SQLite file: memory does not grow with the books.

A key (`recorded.Key`) is one charge, refund or dispute of one payment. Each side's amount of it is
the sum over its lines or events. A line can come twice and counts once.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

from connectors.books import BookKind, Moved
from operations.books.recorded import Amount, Key

CACHE_KIB = 16_384
CHUNK = 1_000

_SCHEMA = """
CREATE TABLE theirs (counted_as TEXT PRIMARY KEY, payment TEXT, kind TEXT NOT NULL,
    currency TEXT NOT NULL, reference TEXT NOT NULL, charge TEXT NOT NULL, amount INTEGER NOT NULL,
    is_final INTEGER NOT NULL, made_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE ours (payment TEXT NOT NULL, kind TEXT NOT NULL, currency TEXT NOT NULL,
    reference TEXT NOT NULL, amount INTEGER NOT NULL, occurred_at REAL NOT NULL,
    recorded_at REAL NOT NULL, PRIMARY KEY (payment, kind, currency, reference)) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX IF NOT EXISTS theirs_by_key ON theirs (payment, kind, currency, reference);
CREATE INDEX IF NOT EXISTS theirs_by_charge ON theirs (charge) WHERE payment IS NOT NULL;
CREATE INDEX IF NOT EXISTS ours_by_reference ON ours (reference);
ANALYZE;
"""
# Of an owner that the metadata do not name: another line of the charge, or an event of ours.
_OWNERLESS = "SELECT DISTINCT charge, reference FROM theirs WHERE payment IS NULL"
_OWNER = """
SELECT payment FROM theirs INDEXED BY theirs_by_charge WHERE charge = ?1 AND payment IS NOT NULL
UNION ALL SELECT payment FROM ours WHERE reference IN (?1, ?2) LIMIT 1
"""
_PAIRS = """
SELECT payment, kind, currency, reference, sum(expected), sum(actual), max(made_at),
       max(recorded_at)
FROM (SELECT payment, kind, currency, reference, amount AS expected, 0 AS actual,
             NULL AS made_at, recorded_at FROM ours
      UNION ALL
      SELECT payment, kind, currency, reference, 0, amount * is_final, made_at, NULL
      FROM theirs WHERE payment IS NOT NULL)
GROUP BY payment, kind, currency, reference ORDER BY payment, kind, currency, reference
"""
_ON_ITS_WAY = """
SELECT kind, currency, count(DISTINCT reference), sum(amount), min(made_at) FROM theirs
WHERE is_final = 0 GROUP BY kind, currency
"""
_NOBODYS = """
SELECT kind, currency, reference, sum(amount), max(made_at) FROM theirs WHERE payment IS NULL
GROUP BY kind, currency, reference ORDER BY max(made_at) DESC
"""
_NOT_CONCERNED = """
DELETE FROM ours WHERE occurred_at < ? AND NOT EXISTS (
    SELECT 1 FROM theirs WHERE theirs.payment = ours.payment AND theirs.kind = ours.kind
        AND theirs.currency = ours.currency AND (theirs.reference = ours.reference
                                                 OR ours.reference = ''))
"""


class Pair(NamedTuple):
    """Both sides of one key. `expected` is what `payments` says, `actual` what the PSP's books say.

    `made_at` is when the PSP's latest line was made, `recorded_at` when our latest event was
    appended; None if that side has nothing.
    """

    key: Key
    expected_minor: int
    actual_minor: int
    made_at: datetime | None
    recorded_at: datetime | None

    @property
    def agrees(self) -> bool:
        """Whether both sides say the same."""
        return self.expected_minor == self.actual_minor


class Nobodys(NamedTuple):
    """Money at the PSP that belongs to no payment of ours."""

    kind: BookKind
    currency: str
    reference: str
    amount_minor: int
    made_at: datetime


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """Money that the PSP's books have in advance, and a bank has not decided."""

    kind: BookKind
    currency: str
    count: int
    amount_minor: int
    oldest_at: datetime


class Workbook:
    """The file; a context manager. It is removed at the end, or with the process that died."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="purser-books-")
        path = Path(self._folder.name) / "books.sqlite"
        self._file = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._folder.cleanup()

    def add_theirs(self, lines: Iterable[tuple[Moved, datetime]], *, only_known: bool) -> None:
        """Add lines of the PSP's books with their times; what is there already is replaced.

        With `only_known` a line is added only if `ours` has its key: it is newer than the rest.
        """
        rows = [
            (
                moved.counted_as,
                None if moved.payment_id is None else str(moved.payment_id),
                moved.kind,
                moved.currency,
                moved.reference,
                moved.charge_reference,
                moved.amount_minor,
                moved.is_final,
                made_at.timestamp(),
            )
            for moved, made_at in lines
        ]
        condition = (
            "EXISTS (SELECT 1 FROM ours WHERE reference = ?5 AND kind = ?3)" if only_known else "1"
        )
        with self._transaction():
            self._file.executemany(
                "INSERT OR REPLACE INTO theirs SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
                f" WHERE {condition}",
                rows,
            )

    def add_ours(self, amounts: Iterable[Amount]) -> None:
        """Add what was recorded; what is there already is replaced."""
        rows = (
            (
                *amount.key[:1],
                amount.key.kind,
                amount.key.currency,
                amount.key.reference,
                amount.amount_minor,
                amount.occurred_at.timestamp(),
                amount.recorded_at.timestamp(),
            )
            for amount in amounts
        )
        with self._transaction():
            self._file.executemany("INSERT OR REPLACE INTO ours VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def index(self) -> None:
        """Make the indexes, once both sides are in."""
        self._file.executescript(_INDEXES)

    def own(self) -> list[str]:
        """Give the lines without an owner that of their charge; return the references left."""
        left: list[str] = []
        found: list[tuple[str, str]] = []
        for charge, reference in self._file.execute(_OWNERLESS).fetchall():
            owner = self._file.execute(_OWNER, (charge, reference)).fetchone()
            if owner is None:
                left += [charge] if charge == reference else [charge, reference]
            else:
                found.append((owner[0], charge))
        self.give(found)
        return list(dict.fromkeys(left))

    def give(self, owners: Sequence[tuple[str, str]]) -> None:
        """Say which payment (first) a charge or a single reference (second) belongs to."""
        with self._transaction():
            self._file.executemany(
                "UPDATE theirs SET payment = ?1 WHERE payment IS NULL"
                " AND (charge = ?2 OR reference = ?2)",
                owners,
            )

    def unread_payments(self) -> Iterator[list[str]]:
        """Yield, in chunks, the payments that have lines but no row of ours."""
        cursor = self._file.execute(
            "SELECT DISTINCT payment FROM theirs WHERE payment IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM ours WHERE ours.payment = theirs.payment)"
        )
        while rows := cursor.fetchmany(CHUNK):
            yield [payment for (payment,) in rows]

    def drop_before(self, since: datetime) -> None:
        """Forget what of ours is older than a window and has no line in it."""
        self._file.execute(_NOT_CONCERNED, (since.timestamp(),))

    def replace(self, payment_ids: Sequence[str], amounts: Iterable[Amount]) -> None:
        """Put a newer look at our side of these payments in the place of the older one."""
        with self._transaction():
            self._file.executemany(
                "DELETE FROM ours WHERE payment = ?", [(each,) for each in payment_ids]
            )
        self.add_ours(amounts)

    def pairs(self) -> Iterator[Pair]:
        """Yield both sides of every key; references that only one side knows are settled first.

        Where our events have no reference, the lines that no other event of the payment names are
        theirs, if the sums are equal.
        """
        rows = map(_pair, self._file.execute(_PAIRS))
        for _, same in groupby(rows, key=lambda pair: pair.key[:3]):
            yield from _settled(list(same))

    def nobodys(self) -> Iterator[Nobodys]:
        """Yield the money that belongs to no payment of ours, newest first."""
        for kind, currency, reference, amount, made_at in self._file.execute(_NOBODYS):
            yield Nobodys(BookKind(kind), currency, reference, amount, _time(made_at))

    def on_its_way(self) -> list[OnItsWay]:
        """Return what the PSP's books have in advance."""
        return [
            OnItsWay(BookKind(kind), currency, count, amount, _time(oldest))
            for kind, currency, count, amount, oldest in self._file.execute(_ON_ITS_WAY)
        ]

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._file)


class _Transaction:
    """One for many statements, each of which would be one of its own."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._file.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        # Without a journal nothing can be rolled back; after a failure the file is thrown away.
        self._file.execute("COMMIT")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _pair(row: Sequence[Any]) -> Pair:
    payment, kind, currency, reference, expected, actual, made_at, recorded_at = row
    return Pair(
        Key(payment, BookKind(kind), currency, reference),
        expected,
        actual,
        None if made_at is None else _time(made_at),
        None if recorded_at is None else _time(recorded_at),
    )


def _settled(pairs: list[Pair]) -> list[Pair]:
    """Match events without a reference with the lines that no event names, if the sums agree."""
    unnamed = next((pair for pair in pairs if not pair.key.reference), None)
    if unnamed is None:
        return pairs
    free = [pair for pair in pairs if pair.key.reference and pair.recorded_at is None]
    if not free or sum(pair.actual_minor for pair in free) != unnamed.expected_minor:
        return pairs
    kept = [pair for pair in pairs if pair not in free and pair is not unnamed]
    # As one: which line is whose cannot be said, and need not be.
    return [*kept, unnamed._replace(actual_minor=unnamed.expected_minor, made_at=free[0].made_at)]

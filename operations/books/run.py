"""Runs a comparison: reads the PSP's books, then `payments`, compares, looks again, decides.

In this order every charge in the books is older than the snapshot of `payments` that has to have
it. What was made at the PSP while the books were read is read afterwards, as far as `payments`
already has it; the rest of it is for the next comparison.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Protocol

from connectors.books import BookLine, Books, Moved
from operations.books.recorded import Recorded, RecordedSide
from operations.books.report import (
    Difference,
    Foreign,
    Report,
    State,
    Total,
    TotalKey,
    Uncompared,
    UnderWay,
    Verdict,
)
from operations.books.settings import BooksSettings
from operations.books.suspects import Suspect, Suspects
from operations.books.workbook import Pair, Workbook
from schemas.errors import UsageError

SUSPECTS_MOST = 1_000
"""Most differences that are looked at again one by one; more are counted."""
OWNERS_AT_ONCE = 10_000
TIMEOUT_SECONDS = 150.0
GRACE_SECONDS = 120.0
"""A webhook that comes late or never is made up for by the poller within this time."""
DAY = timedelta(days=1)


class OnProgress(Protocol):
    """Told how far the work is; see `operations.console.Report`."""

    def __call__(self, what: str, done: int, total: int, figures: str = "") -> None:
        """Report progress."""


def _silent(what: str, done: int, total: int, figures: str = "") -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to compare and how long to wait.

    - `since`: first day (UTC) of the PSP's books; None: all of them.
    - `grace_seconds`: money that one side lacks counts as a difference once it is that old.
    - `timeout_seconds`: how long to look again at what differs.
    - `rows`: most differences, and most foreign charges, in the report.
    """

    since: date | None = None
    grace_seconds: float = GRACE_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS
    rows: int = 20
    on_progress: OnProgress = _silent

    def __post_init__(self) -> None:
        if not 0 <= self.timeout_seconds <= 86_400:
            raise UsageError("timeout", "give 0 to 86400 seconds")
        if not 0 <= self.grace_seconds <= 86_400:
            raise UsageError("grace", "give 0 to 86400 seconds")
        if not 0 <= self.rows <= 500:
            raise UsageError("rows", "give 0 to 500")

    @property
    def since_at(self) -> datetime | None:
        """The first instant of the window."""
        day = self.since
        return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def compare_books(settings: BooksSettings, options: Options, books: Books) -> Report:
    """Compare the PSP's books with `payments` once; the books are closed at the end.

    Raises:
        ServiceUnavailable: PostgreSQL is down or closes the connection.
        ProcessorError: the PSP is down, or refuses the key.
        ConfigurationError: a wrong address, user or password.
    """
    dsn = settings.postgres_reader_dsn.get_secret_value()
    with Recorded(dsn, books.psp) as recorded, Workbook() as workbook:
        return asyncio.run(Comparison(recorded, workbook, options, books).run())


@dataclass(slots=True)
class _Beside:
    """What the books have beside the money of payments."""

    fees: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    uncompared: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, line: BookLine) -> None:
        entry = line.entry
        if fee_minor := entry.fee_minor - (entry.amount_minor if line.is_fee else 0):
            self.fees[entry.currency] += fee_minor
        if line.moved is None and not line.is_fee:
            counted = self.uncompared.setdefault((line.category, entry.currency), [0, 0])
            counted[0] += 1
            counted[1] += entry.amount_minor


class Comparison:
    """One comparison, which runs once."""

    def __init__(
        self,
        recorded: RecordedSide,
        workbook: Workbook,
        options: Options,
        books: Books,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`now` and `pause` replace the time in tests."""
        self._now = now
        self._pause = pause
        self._recorded = recorded
        self._workbook = workbook
        self._options = options
        self._books = books
        self._beside = _Beside()
        self._lines = 0
        self._newest: datetime | None = None
        self._totals: defaultdict[TotalKey, Total] = defaultdict(Total)
        self._differing = 0

    async def run(self) -> Report:
        """Read both sides, compare, look again at what differs, and report."""
        started = self._now()
        try:
            await self._read_theirs()
            snapshot, snapshot_at = self._recorded.take_snapshot()
            self._read_ours()
            await self._read_what_came_meanwhile()
            self._find_owners()
            under_way = self._under_way()
            self._recorded.leave_snapshot()
            self._options.on_progress("comparing", 0, 0)
            suspects = self._first_look()
            watched_from = self._now()
            await suspects.watch(watched_from + self._options.timeout_seconds)
        finally:
            await self._books.close()
        waited_seconds = self._now() - watched_from if suspects.looks > 1 else 0.0
        for pair in (*suspects.agreed.values(), *(each.pair for each in suspects.left.values())):
            self._count(pair)
        verdict, reason = self._verdict(suspects)
        foreign, foreign_count = self._foreign()
        unseen = self._differing - len(suspects.left) - len(suspects.agreed)
        return Report(
            verdict=verdict,
            reason=reason,
            psp=self._books.psp,
            since=self._options.since,
            snapshot=snapshot,
            snapshot_at=snapshot_at,
            lines=self._lines,
            totals=dict(sorted(self._totals.items())),
            fees=dict(self._beside.fees),
            uncompared=[
                Uncompared(category=category, currency=currency, count=count, amount_minor=minor)
                for (category, currency), (count, minor) in sorted(self._beside.uncompared.items())
            ],
            differences=self._differences(suspects),
            differing=len(suspects.left) + unseen,
            differing_at_least=unseen > 0,
            under_way=under_way,
            foreign=foreign,
            foreign_count=foreign_count,
            grace_seconds=self._options.grace_seconds,
            looks=suspects.looks,
            waited_seconds=waited_seconds,
            seconds=self._now() - started,
        )

    # -- both sides ---------------------------------------------------------------------------

    async def _read_theirs(self) -> None:
        async for page in self._books.lines(self._options.since_at):
            self._lines += len(page)
            for line in page:
                self._beside.add(line)
                if self._newest is None or line.entry.created_at > self._newest:
                    self._newest = line.entry.created_at
            self._workbook.add_theirs(_moved(page), only_known=False)
            if page:
                reached = page[-1].entry.created_at
                self._options.on_progress(
                    f"reading {self._books.psp}'s books",
                    0,
                    0,
                    f"{self._lines:,} lines, back to {reached:%Y-%m-%d %H:%M}",
                )

    def _read_ours(self) -> None:
        done = 0
        amounts = self._recorded.money(self._options.since_at)
        while some := list(islice(amounts, OWNERS_AT_ONCE)):
            self._workbook.add_ours(some)
            done += len(some)
            self._options.on_progress("reading payments", 0, 0, f"{done:,} amounts")
        self._workbook.index()

    async def _read_what_came_meanwhile(self) -> None:
        """Add the lines made since the reading began that the snapshot already knows."""
        since = self._newest or self._options.since_at
        async for page in self._books.lines(since):
            self._workbook.add_theirs(_moved(page), only_known=True)

    def _find_owners(self) -> None:
        """Find the payments of lines that name none, and what is recorded of those named."""
        left = self._workbook.own()
        since = self._options.since_at
        if since is None:
            return  # all that is recorded has been read
        for start in range(0, len(left), OWNERS_AT_ONCE):
            some = left[start : start + OWNERS_AT_ONCE]
            owners = self._recorded.owners(some)
            self._workbook.give([(payment, reference) for reference, payment in owners.items()])
        for payments in list(self._workbook.unread_payments()):
            self._workbook.add_ours(self._recorded.money_of(payments))
        self._workbook.drop_before(since)

    def _under_way(self) -> list[UnderWay]:
        asked = [
            UnderWay(
                what=each.what,
                at_psp=False,
                currency=each.currency,
                count=each.count,
                amount_minor=each.amount_minor,
                oldest_at=each.oldest_at,
            )
            for each in self._recorded.under_way(self._options.since_at)
        ]
        return asked + [
            UnderWay(
                what=str(each.kind),
                at_psp=True,
                currency=each.currency,
                count=each.count,
                amount_minor=each.amount_minor,
                oldest_at=each.oldest_at,
            )
            for each in self._workbook.on_its_way()
        ]

    # -- the comparison -----------------------------------------------------------------------

    def _first_look(self) -> Suspects:
        """Count what agrees, and suspect what does not."""
        suspects = Suspects(
            books=self._books,
            recorded=self._recorded,
            grace_seconds=self._options.grace_seconds,
            newest_line_at=self._newest,
            on_progress=self._options.on_progress,
            now=self._now,
            pause=self._pause,
        )
        found: list[Pair] = []
        for pair in self._workbook.pairs():
            if pair.agrees:
                self._count(pair)
                continue
            self._differing += 1
            if len(found) < SUSPECTS_MOST:
                found.append(pair)
            else:
                self._count(pair)
        suspects.add(found)
        return suspects

    def _count(self, pair: Pair) -> None:
        total = self._totals[pair.key.currency, pair.key.kind]
        total.add(pair.expected_minor, pair.actual_minor)

    def _verdict(self, suspects: Suspects) -> tuple[Verdict, str]:
        proven = suspects.proven
        looked_at = len(suspects.left) + len(suspects.agreed)
        if proven:
            more = self._differing - looked_at
            also = f"; {more:,} more were not looked at again" if more else ""
            differ = "1 amount differs" if proven == 1 else f"{proven:,} amounts differ"
            return Verdict.DIFFER, f"{differ}{also}"
        if suspects.left:
            return (
                Verdict.UNDECIDED,
                f"{_amounts(len(suspects.left))} may be under way: younger than"
                f" {self._options.grace_seconds:g} s, or still changing; try again",
            )
        if self._differing > looked_at:
            return (
                Verdict.UNDECIDED,
                f"{self._differing:,} amounts differed at first, too many to look at again;"
                " narrow it with --since",
            )
        if not self._lines and not self._totals:
            return Verdict.AGREE, (
                f"neither side has money at {self._books.psp}; payments with another psp, such as"
                " imported ones, are not compared"
            )
        return Verdict.AGREE, ""

    # -- the report ---------------------------------------------------------------------------

    def _differences(self, suspects: Suspects) -> list[Difference]:
        rows = sorted(
            suspects.left.values(),
            key=lambda each: (each.state is not State.PROVEN, each.pair.key),
        )
        return [_difference(each) for each in rows[: self._options.rows]]

    def _foreign(self) -> tuple[list[Foreign], int]:
        found: list[Foreign] = []
        count = 0
        for count, each in enumerate(self._workbook.nobodys(), start=1):
            if count <= self._options.rows:
                found.append(
                    Foreign(
                        reference=each.reference,
                        kind=each.kind,
                        currency=each.currency,
                        amount_minor=each.amount_minor,
                        at=each.made_at,
                    )
                )
        return found, count


def _moved(page: Sequence[BookLine]) -> list[tuple[Moved, datetime]]:
    return [(line.moved, line.entry.created_at) for line in page if line.moved is not None]


def _amounts(count: int) -> str:
    return "1 amount that differs" if count == 1 else f"{count:,} amounts that differ"


def _difference(suspect: Suspect) -> Difference:
    pair = suspect.pair
    moments = [moment for moment in (pair.made_at, pair.recorded_at) if moment is not None]
    return Difference(
        payment_id=pair.key.payment_id,
        reference=pair.key.reference or None,
        kind=pair.key.kind,
        currency=pair.key.currency,
        expected_minor=pair.expected_minor,
        actual_minor=pair.actual_minor,
        state=suspect.state,
        at=max(moments, default=None),
        note=_note(pair),
    )


def _note(pair: Pair) -> str:
    """Say what is wrong in words."""
    if pair.made_at is None:
        return "only in payments"
    if pair.recorded_at is None:
        return "only in the PSP's books"
    return "in both, with different amounts"

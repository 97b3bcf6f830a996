"""What differs, looked at again: both sides move while one reads, so one look proves nothing.

A suspect is a key whose two amounts differed. Each further look asks the PSP for that charge,
refund or dispute alone, and reads its payment in a new snapshot. A suspect

- agrees: it was under way, and has arrived;
- is proven different: it is older than money can be under way (`grace_seconds`), and a look some
  seconds after another showed the same;
- or is neither, until time is up.

It is as old as its latest movement on either side, or as the time since it was first seen here: no
two clocks have to agree.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from connectors.books import BookLine, Books
from operations.books.recorded import Amount, Key, RecordedSide
from operations.books.report import State
from operations.books.workbook import Pair

AGAIN_SECONDS = 3.0
"""Between the two looks that prove a difference."""
PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MOST = 10.0
AFTER_PROOF_SECONDS = 5.0
"""Once a difference is proven, the other suspects are waited for only this long."""
AT_ONCE = 8
"""Questions to the PSP at the same time."""


@dataclass(slots=True, kw_only=True)
class Suspect:
    """A pair that differed, as it was last seen; the times are of the program's own clock."""

    pair: Pair
    first_seen: float
    unchanged_since: float
    state: State = State.UNDER_WAY

    def see(self, pair: Pair, now: float) -> None:
        """Take in another look."""
        amounts = (pair.expected_minor, pair.actual_minor)
        if amounts != (self.pair.expected_minor, self.pair.actual_minor):
            self.unchanged_since = now
        self.pair = pair

    def judge(self, now: float, clock: datetime, grace_seconds: float) -> None:
        """Say whether it is proven. `clock` is the latest time that either side can have."""
        old = max(now - self.first_seen, _age_seconds(self.pair, clock)) >= grace_seconds
        again = now - self.unchanged_since >= AGAIN_SECONDS
        self.state = State.PROVEN if old and again else State.UNDER_WAY


def _age_seconds(pair: Pair, clock: datetime) -> float:
    moments = [moment for moment in (pair.made_at, pair.recorded_at) if moment is not None]
    return min(((clock - moment).total_seconds() for moment in moments), default=0.0)


@dataclass(kw_only=True)
class Suspects:
    """All of them while they are looked at; `left` shrinks as they agree."""

    books: Books
    recorded: RecordedSide
    grace_seconds: float
    newest_line_at: datetime | None
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    left: dict[Key, Suspect] = field(default_factory=dict)
    agreed: dict[Key, Pair] = field(default_factory=dict)
    looks: int = 1

    def add(self, pairs: Iterable[Pair]) -> None:
        """Suspect these pairs, which were just seen to differ."""
        now = self.now()
        for pair in pairs:
            self.left[pair.key] = Suspect(pair=pair, first_seen=now, unchanged_since=now)

    @property
    def proven(self) -> int:
        """How many are proven."""
        return sum(each.state is State.PROVEN for each in self.left.values())

    async def watch(self, deadline: float) -> None:
        """Look again until all agree or are proven, or time is up."""
        pause = PAUSE_SECONDS
        total = len(self.left)
        while self.left and self.proven < len(self.left):
            if self.proven:
                deadline = min(deadline, self.now() + AFTER_PROOF_SECONDS)
            if self.now() >= deadline:
                return
            self.on_progress("looking again", total - len(self.left), total)
            await self.pause(min(pause, max(0.0, deadline - self.now())))
            pause = min(pause * 1.5, PAUSE_SECONDS_MOST)
            await self._look()

    async def _look(self) -> None:
        self.looks += 1
        theirs = await self._lines()
        # Our side is read last: the PSP is the first to know.
        self.recorded.take_snapshot()
        ours = self.recorded.money_of(sorted({key.payment_id for key in self.left}))
        self.recorded.leave_snapshot()
        now, clock = self.now(), self._clock()
        for pair in pairs_of(self.left, ours, theirs):
            if pair.agrees:
                self.agreed[pair.key] = pair
                del self.left[pair.key]
                continue
            self.left[pair.key].see(pair, now)
            self.left[pair.key].judge(now, clock, self.grace_seconds)

    def _clock(self) -> datetime:
        now = datetime.now(UTC)
        return now if self.newest_line_at is None else max(now, self.newest_line_at)

    async def _lines(self) -> dict[str, Sequence[BookLine]]:
        """Ask the PSP for each reference, a few at once."""
        references = iter(sorted({key.reference for key in self.left if key.reference}))
        found: dict[str, Sequence[BookLine]] = {}
        while some := list(islice(references, AT_ONCE)):
            answers = await asyncio.gather(*(self.books.about(each) for each in some))
            found |= dict(zip(some, answers, strict=True))
        return found


def pairs_of(
    keys: Iterable[Key], ours: Iterable[Amount], theirs: Mapping[str, Sequence[BookLine]]
) -> list[Pair]:
    """Put both sides of some keys together: all that is recorded, and the lines by reference."""
    recorded = {amount.key: amount for amount in ours}
    return [_pair(key, recorded.get(key), theirs.get(key.reference, ())) for key in keys]


def _pair(key: Key, amount: Amount | None, lines: Sequence[BookLine]) -> Pair:
    counted: dict[str, tuple[int, datetime]] = {}
    for line in lines:
        moved = line.moved
        if moved is None or (moved.kind, moved.currency, moved.reference) != (
            key.kind,
            key.currency,
            key.reference,
        ):
            continue
        if moved.payment_id is not None and str(moved.payment_id) != key.payment_id:
            continue  # recorded for another payment than the one that the PSP names
        minor = moved.amount_minor if moved.is_final else 0
        counted[moved.counted_as] = (minor, line.entry.created_at)
    return Pair(
        key,
        amount.amount_minor if amount else 0,
        sum(minor for minor, _ in counted.values()),
        max((at for _, at in counted.values()), default=None),
        amount.recorded_at if amount else None,
    )

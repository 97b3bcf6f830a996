"""Our side of a comparison without a server, and a comparison whose time does not pass."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from connectors.books import Books
from operations.books.recorded import KINDS, Amount, Key, UnderWay, amount_of
from operations.books.report import Report
from operations.books.run import Comparison, Options
from operations.books.workbook import Workbook
from schemas.events import Event
from tests.builders import NOON


class MemoryRecorded:
    """`operations.books.recorded.RecordedSide` over a list of events.

    `before_look` is called before every look but the first: what happens between two looks.
    """

    def __init__(
        self, events: Iterable[Event], *, before_look: Callable[[], None] = lambda: None
    ) -> None:
        self.events = list(events)
        self.looks = 0
        self._before_look = before_look

    def take_snapshot(self) -> tuple[str, datetime]:
        self.looks += 1
        if self.looks > 1:
            self._before_look()
        return "1:1:", NOON

    def leave_snapshot(self) -> None:
        pass

    def money(self, since: datetime | None) -> Iterator[Amount]:
        touched = {
            event.payment_id for event in self.events if since is None or event.occurred_at >= since
        }
        return iter(self._amounts(event for event in self.events if event.payment_id in touched))

    def money_of(self, payment_ids: Sequence[str]) -> list[Amount]:
        return self._amounts(event for event in self.events if str(event.payment_id) in payment_ids)

    def owners(self, references: Sequence[str]) -> dict[str, str]:
        return {
            event.psp_reference: str(event.payment_id)
            for event in self.events
            if event.psp_reference in references and event.psp_reference is not None
        }

    def under_way(self, since: datetime | None) -> list[UnderWay]:
        return []

    @staticmethod
    def _amounts(events: Iterable[Event]) -> list[Amount]:
        moving = sorted((event for event in events if event.event_type in KINDS), key=_key)
        found = []
        for key, rows in groupby(moving, key=_key):
            same = list(rows)
            minor = sum(amount_of(e.event_type, e.amount_minor, e.suspense_minor) for e in same)
            found.append(
                Amount(
                    key,
                    minor,
                    max(event.occurred_at for event in same),
                    max(event.recorded_at for event in same),
                )
            )
        return found


def _key(event: Event) -> Key:
    kind = KINDS[event.event_type]
    return Key(str(event.payment_id), kind, event.currency, event.psp_reference or "")


def compare(recorded: MemoryRecorded, books: Books, **options: Any) -> Report:
    """Compare with a clock that only passes while one waits."""
    seconds = 0.0

    async def pause(wait: float) -> None:
        nonlocal seconds
        seconds += wait

    with Workbook() as workbook:
        return asyncio.run(
            Comparison(
                recorded,
                workbook,
                Options(**{"grace_seconds": 0.0, **options}),
                books,
                now=lambda: seconds,
                pause=pause,
            ).run()
        )

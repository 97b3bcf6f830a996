"""Following the topic once history is in: one reader, rows and totals and progress, in that order.

The progress of the replay's database is noted last, so that `verify` may take it for what the live
worker's means: rows and totals up to there are in.
"""

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from operations.replay.build import columns_for, folded_records, patient
from operations.replay.choice import Choice
from operations.replay.reader import reached
from operations.replay.settings import ReplaySettings
from operations.replay.topic import Offsets, Topic
from schemas.errors import PurserError, ServiceUnavailable
from schemas.views import (
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    RevenueKey,
    Table,
)
from sinks.protocol import ViewSink
from streams.fold import FoldedBatch

READ_SECONDS = 0.05
STOP_SECONDS = 60.0


class Follower:
    """Keeps the tables of a choice up to date, wherever each of them is at the moment.

    `new_sink` writes into the replay's database, `live_sink` into the live one: a table that has
    changed places is written where it is now. `notes_progress` is off for a rollback: the progress
    that is there is not the old tables'.
    """

    def __init__(
        self,
        settings: ReplaySettings,
        choice: Choice,
        new_sink: ViewSink,
        live_sink: ViewSink,
        positions: Offsets,
        *,
        notes_progress: bool = True,
    ) -> None:
        self._settings = settings
        self._choice = choice
        self._new_sink = new_sink
        self._live_sink = live_sink
        self._topic = Topic(settings, positions)
        self._notes_progress = notes_progress
        self._retrying = patient(settings.replay_give_up_seconds)
        self._moved: set[Table] = set()
        self._keys_since_move: set[RevenueKey] = set()
        self.records = 0
        self.dead = 0

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._topic.__exit__(None, None, None)

    # -- one step after the other

    def step(self) -> int:
        """Read what is there and store it; how many records that were.

        Raises:
            PurserError: see `ViewSink`; what was not stored is read again by the next replay.
        """
        records = self._topic.read(self._settings.replay_rows_max, READ_SECONDS)
        if len(records):
            folded = folded_records(records, self._choice.built)
            self._retrying.copy()(self._store, folded)
            self.records += len(records)
            self.dead += len(folded.dead_letters)
        return len(records)

    def until(self, ends: Offsets) -> None:
        """Go on until these ends are reached.

        Raises:
            ServiceUnavailable: nothing has come for too long.
        """
        quiet_since = time.monotonic()
        while not reached(self._topic.positions, ends):
            if self.step():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > self._settings.replay_give_up_seconds:
                raise ServiceUnavailable(
                    f"Kafka at {self._settings.kafka_bootstrap} sent nothing for"
                    f" {self._settings.replay_give_up_seconds:g} s; see that it runs, then run the"
                    " same command again"
                )

    def ends(self) -> dict[int, int]:
        """Where the topic ends now."""
        return self._topic.ends()

    def catch_up(self) -> None:
        """Go on until where the topic ended a moment ago."""
        self.until(self.ends())

    def moved(self, table: Table) -> None:
        """The table has changed places: from now on it is written in the live database."""
        self._moved.add(table)

    def refresh_moved_totals(self) -> None:
        """Totals of all that came since the first table moved, from the entries where they are."""
        if self._keys_since_move and not self._moved.isdisjoint((LEDGER_ENTRIES, SELLER_REVENUE)):
            self._retrying.copy()(self._live_sink.refresh_revenue, self._keys_since_move)

    def _store(self, folded: FoldedBatch) -> None:
        here = [table for table in self._choice.built if table not in self._moved]
        self._new_sink.write(columns_for(folded, [*here, DEAD_LETTERS]))
        there = [table for table in self._choice.built if table in self._moved]
        self._live_sink.write(columns_for(folded, there))
        # Of a rollback all: the old totals may lie beside entries that are not theirs.
        if self._moved or not self._notes_progress:
            self._keys_since_move |= folded.revenue_keys
        if self._choice.has_totals:
            self._refresh(folded.revenue_keys)
        # Once tables move, totals wait for the end: what a crash leaves of them is done again.
        if self._notes_progress and not self._moved:
            self._new_sink.write(columns_for(folded, [PIPELINE_PROGRESS]))

    def _refresh(self, keys: Collection[RevenueKey]) -> None:
        """Totals from their entries, unless the two are in different databases at the moment."""
        entries_moved, totals_moved = LEDGER_ENTRIES in self._moved, SELLER_REVENUE in self._moved
        if entries_moved == totals_moved:
            (self._live_sink if totals_moved else self._new_sink).refresh_revenue(keys)

    # -- in the background

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Follow in a thread while the context's body does something else.

        Raises:
            PurserError: what the following came to, if it failed.
        """
        stop = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                while not stop.is_set():
                    self.step()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                failures.append(error)

        thread = threading.Thread(target=run, name="replay-follow", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOP_SECONDS)
        if failures:
            raise failures[0]
        if thread.is_alive():
            raise _Hung(f"following the topic did not stop within {STOP_SECONDS:g} s; run it again")


class _Hung(PurserError):  # noqa: N818 - named for what happened
    """A server that neither answers nor refuses."""


def start_positions(noted: Mapping[int, int], begin: Mapping[int, int]) -> dict[int, int]:
    """Where to read on: behind what is noted as stored, else where the replay began."""
    return {
        partition: max(offset, noted.get(partition, offset)) for partition, offset in begin.items()
    }

"""Follow the topic after the history is loaded: one reader writes rows, notes, then progress.

Progress in the replay's database is written last. `verify` can therefore read it as it reads the
live worker's: rows and totals up to there are written.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from operations.replay.build import columns_for, folded_records, patient
from operations.replay.choice import Choice
from operations.replay.reader_process import reached
from operations.replay.settings import ReplaySettings
from operations.replay.topic import Offsets, Topic
from schemas.errors import PurserError, ServiceUnavailable
from schemas.views import (
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    Table,
)
from sinks.protocol import ViewSink
from streams.fold import FoldedBatch

READ_SECONDS = 0.05
STOP_SECONDS = 60.0


class Follower:
    """Keeps the chosen tables up to date, in whichever database each of them currently is.

    `new_sink` writes to the replay's database, `live_sink` to the live one; a table that was
    exchanged is written in the live one. `notes_progress` is off for a rollback, because the
    existing progress does not describe the old tables.
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
        self._minutes_since_move: set[datetime] = set()
        self.records = 0
        self.dead = 0

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._topic.__exit__(None, None, None)

    # -- one step after the other

    def step(self) -> int:
        """Read and store the records that are available; return their number.

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
        """Continue until these ends are reached.

        Raises:
            ServiceUnavailable: nothing has arrived for too long.
        """
        quiet_since = time.monotonic()
        while not reached(self._topic.positions, ends):
            if self.step():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > self._settings.replay_give_up_seconds:
                raise ServiceUnavailable(
                    f"Kafka at {self._settings.kafka_bootstrap} sent nothing for"
                    f" {self._settings.replay_give_up_seconds:g} s; check that it runs, then run"
                    " the same command again"
                )

    def ends(self) -> dict[int, int]:
        """Return the current ends of the topic."""
        return self._topic.ends()

    def catch_up(self) -> None:
        """Continue until the ends that the topic had at the start of the call."""
        self.until(self.ends())

    def moved(self, table: Table) -> None:
        """Mark the table as exchanged: from now on it is written in the live database."""
        self._moved.add(table)

    def note_moved(self) -> None:
        """Note for the live totals what was stored since the first exchange."""
        if not self._moved.isdisjoint((LEDGER_ENTRIES, SELLER_REVENUE)):
            self._retrying.copy()(self._live_sink.note_minutes, self._minutes_since_move)

    def _store(self, folded: FoldedBatch) -> None:
        here = [table for table in self._choice.built if table not in self._moved]
        self._new_sink.write(columns_for(folded, [*here, DEAD_LETTERS]))
        there = {table for table in self._choice.built if table in self._moved}
        if SELLER_REVENUE in self._moved:
            there.add(LEDGER_ENTRIES)  # the live recent entries are copied from the live ledger
        self._live_sink.write(columns_for(folded, there))
        # In a rollback keep all: the old totals may be next to entries that are not theirs.
        if self._moved or not self._notes_progress:
            self._minutes_since_move |= folded.minutes
        totals_moved = SELLER_REVENUE in self._moved
        (self._live_sink if totals_moved else self._new_sink).note_minutes(folded.minutes)
        # After the first exchange no progress is written: a resumed run must note again.
        if self._notes_progress and not self._moved:
            self._new_sink.write(columns_for(folded, [PIPELINE_PROGRESS]))

    # -- in the background

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Follow in a thread while the body of the context runs.

        Raises:
            PurserError: the error of the thread, if it failed.
        """
        stop = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                while not stop.is_set():
                    self.step()
            except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
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
    """A server neither answers nor refuses."""


def start_positions(noted: Mapping[int, int], begin: Mapping[int, int]) -> dict[int, int]:
    """Return where to continue: after what is recorded as stored, else where the replay began."""
    return {
        partition: max(offset, noted.get(partition, offset)) for partition, offset in begin.items()
    }

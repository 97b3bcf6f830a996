"""One reader process: reads, folds and writes a share of the history as fast as one core can.

It reports what is stored to the coordinator. If the coordinator is gone, the report fails and the
reader exits. Its successor reads again what was not recorded as stored; writing rows again changes
nothing.
"""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from operations.replay.build import Batch, Builder
from operations.replay.choice import VIEWS
from operations.replay.settings import ReplaySettings
from operations.replay.snapshot import BatchSize, KeyShare, read_ranges
from operations.replay.topic import Offsets, Topic
from schemas.errors import PurserError, ServiceUnavailable
from schemas.gc_tuning import tune_gc
from schemas.runtime import entry_point
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings
from streams.records import Records

READ_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShare:
    """Partitions of the topic, with start and end offsets."""

    positions: Offsets
    ends: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderPlan:
    """The work of one reader; `records_per_second` None: as fast as possible."""

    settings: ReplaySettings
    clickhouse_url: str
    tables: tuple[str, ...]
    share: TopicShare | KeyShare
    records_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Records stored since the last such message; `dead` of them could not be folded."""

    records: int
    dead: int = 0
    finished: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why a reader exits; `passing`: a retry may succeed."""

    message: str
    passing: bool


class Pace:
    """Limits a reader to a number of records per second."""

    def __init__(self, records_per_second: float | None) -> None:
        self._rate = records_per_second
        self._due = time.monotonic()

    def batch(self, most: int) -> int:
        """Return the size of the next batch: about a quarter of a second of records."""
        return most if self._rate is None else max(1, min(most, int(self._rate / 4)))

    def take(self, records: int) -> None:
        """Wait for as long as these records should take."""
        if self._rate is None:
            return
        self._due = max(self._due, time.monotonic() - 1.0) + records / self._rate
        time.sleep(max(0.0, self._due - time.monotonic()))


@entry_point
def read_share(plan: ReaderPlan, link: Connection) -> None:
    """Main function of the process; it reports everything through `link`."""
    # Ctrl-C reaches the whole process group; the coordinator stops the readers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tune_gc()
    try:
        build_share(plan, link.send)
    except (BrokenPipeError, ConnectionResetError):
        return  # the coordinator is gone
    except PurserError as error:
        link.send(Failed(message=str(error), passing=isinstance(error, ServiceUnavailable)))
    except Exception as error:
        # A bug: a retry would fail in the same way.
        link.send(Failed(message=f"a reader failed: {error!r}", passing=False))
        raise
    finally:
        link.close()


def build_share(plan: ReaderPlan, tell: Callable[[Stored], None]) -> None:
    """Read the plan's share, fold it and store it; call `tell` for everything that is stored.

    Raises:
        PurserError: a server is unavailable for too long, or refuses.
    """
    tables = [table for table in VIEWS if table.name in plan.tables]
    settings = ClickHouseSettings.load(plan.clickhouse_url)
    sink = ClickHouseSink(settings)
    builder = Builder(
        sink,
        tables,
        from_topic=isinstance(plan.share, TopicShare),
        give_up_seconds=plan.settings.replay_give_up_seconds,
    )
    pace = Pace(plan.records_per_second)
    written = Stored(records=0)
    try:
        with builder:
            for records, finished in _batches(plan, pace):
                before, written = written, Stored(records=0, finished=finished)
                if len(records):
                    folded = builder.add(records)
                    written = Stored(
                        records=len(records),
                        dead=len(folded.dead_letters),
                        finished=finished,
                    )
                else:
                    builder.finish()
                # `add` and `finish` return after the previous batch is stored.
                tell(before)
                pace.take(len(records))
            builder.finish()
            tell(written)
    finally:
        sink.close()


def _batches(plan: ReaderPlan, pace: Pace) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Yield records, and the numbers of the key ranges that are complete with them."""
    most = plan.settings.replay_rows_max
    if isinstance(plan.share, KeyShare):
        yield from read_ranges(plan.settings, plan.share, lambda: pace.batch(most))
    else:
        for records in read_topic(plan.settings, plan.share, lambda: pace.batch(most)):
            yield records, ()


def read_topic(settings: ReplaySettings, share: TopicShare, size: BatchSize) -> Iterator[Records]:
    """Yield the share's records until all its ends are reached; may include some beyond an end.

    Raises:
        ServiceUnavailable: nothing has arrived for too long.
        TopicCutOff: an offset is gone.
    """
    quiet_since = time.monotonic()
    with Topic(settings, share.positions) as topic:
        while not reached(topic.positions, share.ends):
            before = topic.positions
            records = topic.read(size(), READ_SECONDS)
            if len(records):
                yield records
            if topic.positions != before:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > settings.replay_give_up_seconds:
                raise ServiceUnavailable(
                    f"Kafka at {settings.kafka_bootstrap} sent nothing for"
                    f" {settings.replay_give_up_seconds:g} s; check that it runs, then run the same"
                    " command again to resume"
                )


def reached(positions: Offsets, ends: Offsets) -> bool:
    """Return whether every partition in `ends` was read to its end."""
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())

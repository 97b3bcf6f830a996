"""One reader process: a share of the history, read, folded and written as fast as one core can.

It tells the coordinator what is stored; when that is gone, telling fails and it ends. What it had
not noted as stored is read again by whoever takes over, and writing rows again changes nothing.
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
from schemas.runtime import entry_point
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings
from streams.gc_tuning import tune_gc
from streams.records import Records

READ_SECONDS = 0.5
EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShare:
    """Partitions of the topic: from where to where."""

    positions: Offsets
    ends: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderPlan:
    """What one reader does; `records_per_second` None: as fast as it can."""

    settings: ReplaySettings
    clickhouse_url: str
    tables: tuple[str, ...]
    share: TopicShare | KeyShare
    records_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became rows since the last such message; `examples` of what could not be folded."""

    records: int
    dead: int = 0
    examples: tuple[str, ...] = ()
    finished: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why a reader ends; `passing`: the same again may succeed."""

    message: str
    passing: bool


class Pace:
    """Holds a reader back to a number of records per second."""

    def __init__(self, records_per_second: float | None) -> None:
        self._rate = records_per_second
        self._due = time.monotonic()

    def batch(self, most: int) -> int:
        """Records to take at once: about a quarter of a second of them."""
        return most if self._rate is None else max(1, min(most, int(self._rate / 4)))

    def take(self, records: int) -> None:
        """Wait for as long as these records may take."""
        if self._rate is None:
            return
        self._due = max(self._due, time.monotonic() - 1.0) + records / self._rate
        time.sleep(max(0.0, self._due - time.monotonic()))


@entry_point
def read_share(plan: ReaderPlan, link: Connection) -> None:
    """The process's main; everything it has to say goes through `link`."""
    # Ctrl-C reaches the whole process group; the coordinator decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tune_gc()
    try:
        build_share(plan, link.send)
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody is left to tell
    except PurserError as error:
        link.send(Failed(message=str(error), passing=isinstance(error, ServiceUnavailable)))
    except Exception as error:
        # A mistake of ours: another try would come to the same.
        link.send(Failed(message=f"a reader failed: {error!r}", passing=False))
        raise
    finally:
        link.close()


def build_share(plan: ReaderPlan, tell: Callable[[Stored], None]) -> None:
    """Read the plan's share, fold it and store it; `tell` hears of everything that is stored.

    Raises:
        PurserError: a server is away for too long, or refuses.
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
                        examples=tuple(row.error for row in folded.dead_letters[:EXAMPLES_MAX]),
                        finished=finished,
                    )
                else:
                    builder.finish()
                # `add` and `finish` return when the batch before is stored.
                tell(before)
                pace.take(len(records))
            builder.finish()
            tell(written)
    finally:
        sink.close()


def _batches(plan: ReaderPlan, pace: Pace) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Records, and the numbers of the key ranges that are complete with them."""
    most = plan.settings.replay_rows_max
    if isinstance(plan.share, KeyShare):
        yield from read_ranges(plan.settings, plan.share, lambda: pace.batch(most))
    else:
        for records in read_topic(plan.settings, plan.share, lambda: pace.batch(most)):
            yield records, ()


def read_topic(settings: ReplaySettings, share: TopicShare, size: BatchSize) -> Iterator[Records]:
    """The share's records until all its ends are reached; some beyond an end may be among them.

    Raises:
        ServiceUnavailable: nothing has come for too long.
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
                    f" {settings.replay_give_up_seconds:g} s; see that it runs, then run the same"
                    " command again: it goes on from here"
                )


def reached(positions: Offsets, ends: Offsets) -> bool:
    """Whether every partition was read to its end, as far as `ends` names one."""
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())

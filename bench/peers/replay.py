"""The bulk path of `purser replay` with one reader, as the command runs it in each process."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator

from operations.replay import reader_process
from operations.replay.bulk import shares_of_topic
from operations.replay.reader_process import ReaderPlan, Stored, TopicShare
from operations.replay.settings import ReplaySettings
from operations.replay.snapshot import BatchSize
from operations.replay.topic import Topic, begin
from schemas.gc_tuning import tune_gc
from schemas.runtime import entry_point
from schemas.views import PAYMENT_EVENTS
from streams.records import Records

ReadTopic = Callable[[ReplaySettings, TopicShare, BatchSize], Iterator[Records]]


class _Clock:
    """The time of the first records, and the CPU time until then."""

    seconds = cpu_seconds = 0.0

    def started_by(self, read: ReadTopic) -> ReadTopic:
        """Wrap a reading so that its first records start the clock."""

        def reading(
            settings: ReplaySettings, share: TopicShare, size: BatchSize
        ) -> Iterator[Records]:
            for records in read(settings, share, size):
                if not self.seconds:
                    self.seconds, self.cpu_seconds = time.perf_counter(), time.process_time()
                yield records

        return reading


@entry_point
def main() -> None:
    """Read one share of the topic into the views and print the time it took."""
    settings = ReplaySettings.load()
    number, readers = map(int, os.environ.get("PURSER_BENCH_SHARE", "0/1").split("/"))
    views = os.environ.get("PURSER_BENCH_VIEWS", PAYMENT_EVENTS.name)
    with Topic(settings) as topic:
        ranges = topic.ranges()
    ends = {partition: end for partition, (_, end) in ranges.items()}
    plan = ReaderPlan(
        settings=settings,
        clickhouse_url=settings.clickhouse_url.get_secret_value(),
        tables=tuple(views.split(",")),
        share=shares_of_topic(begin(ranges, settings.payments_topic), ends, readers)[number],
        records_per_second=None,
    )
    events = 0

    def tell(stored: Stored) -> None:
        nonlocal events
        events += stored.records

    tune_gc()
    clock = _Clock()
    # The clock starts with the first records, as for the other peers.
    vars(reader_process).update(read_topic=clock.started_by(reader_process.read_topic))
    reader_process.build_share(plan, tell)
    result = {
        "events": events,
        "seconds": time.perf_counter() - clock.seconds,
        "cpu_seconds": time.process_time() - clock.cpu_seconds,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

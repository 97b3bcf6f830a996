"""Ours: the bulk path of `purser replay`, one reader, as the command runs it in each process.

Its clock includes connecting and the first fetch, which those of the others do not.
"""

import json
import os
import sys
import time

from schemas.views import PAYMENT_EVENTS
from streams.replay.bulk import shares_of_topic
from streams.replay.reader import ReaderPlan, Stored, build_share
from streams.replay.settings import ReplaySettings
from streams.replay.topic import Topic, begin


def main() -> None:
    """Read one share of the topic into the views, print what it took."""
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

    started, cpu = time.perf_counter(), time.process_time()
    build_share(plan, tell)
    result = {
        "events": events,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

"""All sections in order, on a stack that is up."""

import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench import sections
from bench.figures import Figure, show, write
from bench.sections import Bench
from bench.servers import TopicEnd, wait_until
from cli.output import wide_console
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import CHECKOUT

RESULTS = CHECKOUT / "bench" / "results"

SECTIONS: dict[str, Callable[[Bench], list[Figure]]] = {
    # First a warm-up: two JVMs are twice as fast once they are warm.
    "throughput": sections.throughput,
    "latency": sections.latency,
    "transport": sections.transport,
    "storage": sections.storage,
}


def run(
    stack: Stack,
    say: Callable[[str], None],
    *,
    events: int,
    rate: float,
    seconds: float,
    seed: int,
    only: list[str],
) -> list[Figure]:
    """Measure, print the table, write the JSON; returns the figures."""
    endpoints = stack.endpoints
    with (
        closing(TopicEnd(endpoints.kafka_bootstrap)) as topic,
        connect(ClickHouseSettings.load(endpoints.clickhouse_url)) as client,
        tempfile.TemporaryDirectory(prefix="purser-bench-") as folder,
    ):
        bench = Bench(
            stack=stack,
            clickhouse=client,
            topic=topic,
            folder=Path(folder),
            events=events,
            rate=rate,
            seconds=seconds,
            seed=seed,
        )
        figures: list[Figure] = []
        say("warming up")
        _warm_up(bench)
        for name in only or SECTIONS:
            say(f"measuring {name}")
            figures += SECTIONS[name](bench)
    show(figures, wide_console())
    file = write(figures, RESULTS, shlex.join(["purser", *sys.argv[1:]]))
    say(f"written to {file}")
    return figures


def _warm_up(bench: Bench) -> None:
    """Send some events all the way, at full speed, before anything is measured."""
    rows = sections.count_rows(bench)
    sections.import_rate(bench, bench.seed)
    wait_until(
        lambda: sections.count_rows(bench) >= rows + bench.events, "the views did not follow"
    )

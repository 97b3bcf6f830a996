"""All sections in order, on a stack that is up."""

import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench import queries, sections
from bench.elasticity import elasticity
from bench.figures import Figure, show, write
from bench.peers.run import peers
from bench.sections import Bench
from bench.servers import TopicEnd
from cli.output import wide_console
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import CHECKOUT

WARM_UP_EVENTS = 20_000
RESULTS = CHECKOUT / "bench" / "results"

SECTIONS: dict[str, Callable[[Bench], list[Figure]]] = {
    # Before anything large: what a bulk load leaves behind, vacuum and merges, would be in it.
    "latency": sections.latency,
    "throughput": sections.throughput,
    "transport": sections.transport,
    "elasticity": elasticity,
    "storage": sections.storage,
    "queries": queries.queries,
    "peers": peers,
}
ON_REQUEST = ("elasticity", "queries", "peers")
"""Only when they are named: they take minutes each, and the peers are installed by `make peers`."""


def run(
    stack: Stack,
    say: Callable[[str], None],
    *,
    events: int,
    rate: float,
    seconds: float,
    seed: int,
    payments: int,
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
            payments=payments,
        )
        figures: list[Figure] = []
        say("warming up")
        sections.warm_up(bench, min(events, WARM_UP_EVENTS), seed)
        for name in only or [name for name in SECTIONS if name not in ON_REQUEST]:
            say(f"measuring {name}")
            figures += SECTIONS[name](bench)
    show(figures, wide_console())
    file = write(figures, RESULTS, shlex.join(["purser", *sys.argv[1:]]))
    say(f"written to {file}")
    return figures

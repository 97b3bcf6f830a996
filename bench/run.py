"""Runs all sections in order, on a running stack."""

import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from pkgutil import resolve_name

from bench import sections
from bench.catalogue import ON_REQUEST, SECTIONS
from bench.figures import Figure, show, write
from bench.sections import Bench
from bench.servers import TopicEnd
from operations.console import wide_console
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import CHECKOUT

WARM_UP_EVENTS = 60_000
"""With fewer events the JVMs still compile during the latency run, which doubles Connect's cost."""
RESULTS = CHECKOUT / "bench" / "results"

Section = Callable[[Bench], list[Figure]]


def run(
    stack: Stack,
    say: Callable[[str], None],
    *,
    events: int,
    rate: float,
    seconds: float,
    seed: int,
    payments: int,
    day_payments: int,
    only: list[str],
) -> list[Figure]:
    """Measure, print the table, write the JSON, and return the figures."""
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
            day_payments=day_payments,
        )
        figures: list[Figure] = []
        say("warming up")
        sections.warm_up(bench, min(events, WARM_UP_EVENTS), seed)
        for name in only or [name for name in SECTIONS if name not in ON_REQUEST]:
            say(f"measuring {name}")
            section: Section = resolve_name(SECTIONS[name])
            figures += section(bench)
    show(figures, wide_console())
    file = write(figures, RESULTS, shlex.join(["purser", *sys.argv[1:]]))
    say(f"written to {file}")
    return figures

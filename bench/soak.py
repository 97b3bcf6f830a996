"""The soak: live traffic for minutes with kill -9, then a judgement of memory, lag and truth.

    python -m bench.soak --minutes 10 --rate 208 --kill-every 30 --seed 7

It runs on a temporary stack, prints a table, writes JSON to bench/results, and exits with status 1
if a judgement fails. `docs/how-to/scale-workers.md` lists the judgements. Every wait is bounded.

If the machine cannot carry the requested rate, the soak sends half of what it carries, and the
table says so. At its limit the machine would have no capacity left to catch up after a restart.
"""

import argparse
import logging
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from random import Random
from types import FrameType

from bench.day_load import DayLoad, begun_day
from bench.figures import show, write
from bench.lag import LagWatch, wait_until_visible
from bench.memory import Generation, memory_bytes
from bench.servers import TopicEnd
from bench.soak_report import RATE_SHARE_MIN, Options, Seen, judgements
from bench.survival import Acknowledged, verify_stack, wait_all_ready
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, TrafficReport, run_in_background
from operations.bring_up import bring_up
from operations.console import say, wide_console
from operations.own_stack import own_stack
from operations.verify import Report
from schemas.errors import ServiceUnavailable
from schemas.runtime import entry_point
from stack.native import Stack
from stack.settings import CHECKOUT
from stack.topology import programs_of
from writer.append import open_writer

RESULTS = CHECKOUT / "bench" / "results"
VIEWS_WORKERS = 2
SAMPLE_SECONDS = 2.0
TRIAL_SECONDS = 30.0
TRIAL_VISIBLE_SECONDS = 120.0
REDUCED_SHARE = 0.5
CALM_SECONDS = 480.0
"""Traffic without kills at the end, so that every process has a life long enough to judge."""
AFTERWARDS_SECONDS = 900.0
"""Extra time for starting the stack, the last recovery and verify."""
LOADED_PAYMENT_SECONDS = 0.002
"""Most time for loading a payment of a full day, and for verifying it."""
FAILED = 1


@entry_point
def main() -> None:
    """Run the soak, print and write the figures, and exit with 1 if a judgement failed."""
    options = _options()
    # It would log every server that was just killed.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    # As for `purser up`. Two workers, so that partitions move.
    os.environ.setdefault("PURSER_VIEWS_WORKERS", str(VIEWS_WORKERS))
    say(f"seed {options.seed}: {options.minutes:g} minutes, {options.rate:g} payments/s requested")
    with (
        _bounded(
            options.minutes * 60
            + CALM_SECONDS
            + AFTERWARDS_SECONDS
            + options.day_payments * LOADED_PAYMENT_SECONDS
        ),
        own_stack("soak") as stack,
    ):
        bring_up(stack, say)
        if options.day_payments:
            _load_day(stack, options)
        seen, traffic, report = soak(stack, options)
        heap = stack.settings.java_heap_megabytes
    figures = judgements(options, seen, traffic, report, heap)
    show(figures, wide_console())
    command = shlex.join(["python", "-m", "bench.soak", *sys.argv[1:]])
    say(f"written to {write(figures, RESULTS, command)}")
    failed = [figure for figure in figures if figure.met is False]
    for figure in failed:
        say(f"FAILED: {figure.name}: {figure.value:,.3g} {figure.unit}, goal {figure.goal}")
    sys.exit(FAILED if failed else 0)


def soak(stack: Stack, options: Options) -> tuple[Seen, TrafficReport, Report]:
    """Run traffic and kills, wait until everything is ready again, and verify."""
    random = Random(options.seed)
    seen = Seen()
    acknowledged = Acknowledged()
    endpoints = stack.endpoints
    names = [program.name for program in programs_of(stack.settings.views_workers)]
    with open_writer(endpoints.postgres_dsn) as writer, LagWatch(endpoints.clickhouse_url) as lag:

        def send(seed: int, rate: float) -> Traffic:
            settings = MarketplaceSettings(payments_per_second=rate)
            steps = Marketplace(seed, datetime.now(UTC), settings).steps(86_400)
            return Traffic(writer, steps, on_appended=acknowledged.add)

        since, began = datetime.now(UTC), time.monotonic()
        trial = _try_out(send(options.seed + 1, options.rate))
        wait_until_visible(
            endpoints.clickhouse_url, trial.events, since=since, seconds=TRIAL_VISIBLE_SECONDS
        )
        seen.carried = trial.payments / (time.monotonic() - began)
        seen.trial_events = trial.events
        fits = seen.carried >= RATE_SHARE_MIN * options.rate
        seen.rate = options.rate if fits else REDUCED_SHARE * seen.carried
        say(f"the machine carries {seen.carried:.0f} payments/s, the soak sends {seen.rate:.0f}")
        traffic = send(options.seed, seen.rate)
        began = time.monotonic()
        finish = run_in_background(traffic)
        try:
            _disturb(stack, names, random, options, seen, traffic.report, lag)
            wait_all_ready(stack, names)
            # The backlog of the last kill drains under continuing traffic.
            _watch(stack, names, seen, time.monotonic() + CALM_SECONDS)
        finally:
            seen.ended_at = time.monotonic()
            report = finish()
        seen.lag = [(at, seconds) for at, seconds in lag.samples if at >= began]
    seen.acknowledged = len(acknowledged)
    seen.lost = acknowledged.presence(endpoints.postgres_reader_dsn).lost
    say("verifying")
    return seen, report, verify_stack(stack)


def _load_day(stack: Stack, options: Options) -> None:
    """Load today's payments, so that the soak runs on top of a full day."""
    say(f"loading {options.day_payments:,} payments; a million takes some minutes")
    with closing(TopicEnd(stack.endpoints.kafka_bootstrap)) as topic:
        DayLoad(endpoints=stack.endpoints, topic=topic, say=say).load(
            begun_day(), options.day_payments, options.seed
        )


def _try_out(traffic: Traffic) -> TrafficReport:
    """Send the requested rate for a while, which may be more than the machine carries."""
    finish = run_in_background(traffic)
    try:
        time.sleep(TRIAL_SECONDS)
    finally:
        report = finish()
    return report


def _disturb(
    stack: Stack,
    names: list[str],
    random: Random,
    options: Options,
    seen: Seen,
    traffic: TrafficReport,
    lag: LagWatch,
) -> None:
    """Kill a random process every `kill_every` seconds, sampling memory meanwhile."""
    began = time.monotonic()
    deadline = began + options.minutes * 60
    next_kill = began + options.kill_every
    while next_kill < deadline:
        _watch(stack, names, seen, next_kill)
        # A process that is not back by now will not come back, so this ends the soak.
        wait_all_ready(stack, names)
        target = random.choice(names)
        minutes = (time.monotonic() - began) / 60
        say(
            f"{minutes:5.1f} min  {traffic.payments:,} payments, {traffic.events:,} events,"
            f" lag {lag.now:.1f} s; kill -9 {target}"
        )
        seen.kills.append((time.monotonic(), target))
        stack.kill(target)
        next_kill = max(next_kill + options.kill_every, time.monotonic() + options.kill_every / 2)


def _watch(stack: Stack, names: list[str], seen: Seen, until: float) -> None:
    """Sample the memory of every process until `until`."""
    while (now := time.monotonic()) < until:
        for name in names:
            pid = stack.pid(name)
            size = None if pid is None else memory_bytes(pid, children=True)
            if pid is not None and size is not None:
                generation = seen.generations.setdefault((name, pid), Generation(name, pid))
                generation.samples.append((now, size))
        time.sleep(max(0.0, min(until, now + SAMPLE_SECONDS) - time.monotonic()))


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raise ServiceUnavailable in the main thread if the body takes longer than `seconds`."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        # Should cleaning up hang as well, it ends the process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(AFTERWARDS_SECONDS / 3))
        raise ServiceUnavailable(f"the soak did not end within {seconds:g} s; see the logs above")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_positive, default=10.0)
    parser.add_argument("--rate", type=_positive, default=208.0, help="payments per second")
    parser.add_argument("--kill-every", type=_positive, default=30.0, help="seconds")
    parser.add_argument(
        "--day-payments",
        type=int,
        default=0,
        help="payments of today that are there before the soak begins; none by default",
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given = parser.parse_args()
    if given.day_payments < 0:
        parser.error(f"--day-payments {given.day_payments} is below zero")
    return Options(
        minutes=given.minutes,
        rate=given.rate,
        kill_every=given.kill_every,
        seed=given.seed,
        day_payments=given.day_payments,
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


if __name__ == "__main__":
    main()

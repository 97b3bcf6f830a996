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
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from types import FrameType

from bench.figures import Figure, at_least, at_most, show, write
from bench.lag import LagWatch, Recovery, recoveries, wait_until_visible
from bench.memory import Generation, judge, memory_bytes
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
LAG_MAX_SECONDS = 60.0
LAG_SMALL_SECONDS = 5.0
RATE_SHARE_MIN = 0.9
TRIAL_SECONDS = 30.0
TRIAL_VISIBLE_SECONDS = 120.0
REDUCED_SHARE = 0.5
CALM_SECONDS = 480.0
"""Traffic without kills at the end, so that every process has a life long enough to judge."""
AFTERWARDS_SECONDS = 900.0
"""Extra time for starting the stack, the last recovery and verify."""
FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The requested run; `kill_every` is in seconds."""

    minutes: float
    rate: float
    kill_every: float
    seed: int


@dataclass(slots=True, kw_only=True)
class Seen:
    """The observations of a run; times are from the monotonic clock.

    `carried` is the trial's payments per second, counted until the last event was visible. `rate`
    is the rate of the soak itself.
    """

    generations: dict[tuple[str, int], Generation] = field(default_factory=dict)
    kills: list[tuple[float, str]] = field(default_factory=list)
    lag: list[tuple[float, float]] = field(default_factory=list)
    ended_at: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    trial_events: int = 0
    carried: float = 0.0
    rate: float = 0.0


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
        _bounded(options.minutes * 60 + CALM_SECONDS + AFTERWARDS_SECONDS),
        own_stack("soak") as stack,
    ):
        bring_up(stack, say)
        seen, traffic, report = soak(stack, options)
        heap = stack.settings.java_heap_megabytes
    figures = [
        *_load(options, seen, traffic),
        *_memory(seen, heap),
        *_lag(seen),
        *_truth(seen, traffic, report),
    ]
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

        began = time.monotonic()
        trial = _try_out(send(options.seed + 1, options.rate))
        wait_until_visible(endpoints.clickhouse_url, trial.events, TRIAL_VISIBLE_SECONDS)
        seen.carried = trial.payments / (time.monotonic() - began)
        seen.trial_events = trial.events
        fits = seen.carried >= RATE_SHARE_MIN * options.rate
        seen.rate = options.rate if fits else REDUCED_SHARE * seen.carried
        say(f"the machine carries {seen.carried:.0f} payments/s, the soak sends {seen.rate:.0f}")
        traffic = send(options.seed, seen.rate)
        finish = run_in_background(traffic)
        try:
            _disturb(stack, names, random, options, seen, traffic.report, lag)
            wait_all_ready(stack, names)
            # The backlog of the last kill drains under continuing traffic.
            _watch(stack, names, seen, time.monotonic() + CALM_SECONDS)
        finally:
            seen.ended_at = time.monotonic()
            report = finish()
        began = seen.kills[0][0] - options.kill_every if seen.kills else 0.0
        seen.lag = [(at, seconds) for at, seconds in lag.samples if at >= began]
    seen.acknowledged = len(acknowledged)
    seen.lost = acknowledged.presence(endpoints.postgres_reader_dsn).lost
    say("verifying")
    return seen, report, verify_stack(stack)


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


def _load(options: Options, seen: Seen, traffic: TrafficReport) -> list[Figure]:
    reached = traffic.payments / traffic.seconds
    goal, met = at_least(RATE_SHARE_MIN * seen.rate, reached)
    return [
        Figure(
            section="load",
            name="carried in the trial, until visible",
            value=seen.carried,
            unit="payments/s",
            baseline=f"{options.rate:g} requested",
            ratio=seen.carried / options.rate,
        ),
        Figure(
            section="load",
            name="sent by the soak",
            value=reached,
            unit="payments/s",
            baseline=f"{seen.rate:.0f} chosen",
            ratio=reached / seen.rate,
            goal=goal,
            met=met,
        ),
        Figure(
            section="load",
            name="events acknowledged",
            value=traffic.events / traffic.seconds,
            unit="events/s",
        ),
        Figure(
            section="load",
            name="commands appended together, mean",
            value=traffic.groups.mean,
            unit="commands",
        ),
        Figure(section="load", name="commands sent again", value=traffic.resent, unit="commands"),
    ]


def _memory(seen: Seen, heap_megabytes: int) -> list[Figure]:
    figures = []
    names = dict.fromkeys(name for name, _ in seen.generations)
    for name in names:
        lives = [each for (its, _), each in seen.generations.items() if its == name]
        verdict = judge(name, lives, heap_megabytes)
        goal, _ = at_most(verdict.limit, verdict.value)
        note = "" if verdict.flat is not None else ", none long enough to judge"
        figures.append(
            Figure(
                section="memory, the second half of each generation; Java: its peak",
                name=f"{name}, peak {verdict.peak_megabytes:.0f} MB, {verdict.generations}"
                f" generations{note}",
                value=verdict.value,
                unit=verdict.unit,
                goal="" if verdict.flat is None else goal,
                met=verdict.flat,
            )
        )
    return figures


def _lag(seen: Seen) -> list[Figure]:
    found = recoveries(seen.lag, seen.kills, end=seen.ended_at, small_seconds=LAG_SMALL_SECONDS)
    section = f"lag, from commit to visible; small is {LAG_SMALL_SECONDS:g} s"
    worst = max((lag for _, lag in seen.lag), default=0.0)
    goal, met = at_most(LAG_MAX_SECONDS, worst)
    stuck = [each for each in found if each.seconds is None]
    none, all_back = at_most(0, len(stuck))
    figures = [
        Figure(section=section, name="longest", value=worst, unit="s", goal=goal, met=met),
        Figure(
            section=section,
            name=f"kills after which it was not small before the next, of {len(found)}",
            value=len(stuck),
            unit=", ".join(each.target for each in stuck) or "kills",
            goal=none,
            met=all_back,
        ),
    ]
    for target in dict.fromkeys(each.target for each in found):
        figures.append(_of_target(section, target, [e for e in found if e.target == target]))
    return figures


def _of_target(section: str, target: str, found: list[Recovery]) -> Figure:
    longest = max(each.lag_max_seconds for each in found)
    back = [each.seconds for each in found if each.seconds is not None]
    name = f"small again after kill -9 {target}, {len(back)} of {len(found)}, lag {longest:.1f} s"
    return Figure(section=section, name=name, value=max(back, default=0.0), unit="s")


def _truth(seen: Seen, traffic: TrafficReport, report: Report) -> list[Figure]:
    none, nothing_lost = at_most(0, seen.lost)
    return [
        Figure(
            section="truth",
            name=f"acknowledged events lost, of {seen.acknowledged:,}",
            value=seen.lost,
            unit="events",
            goal=none,
            met=nothing_lost and seen.acknowledged == seen.trial_events + traffic.events,
        ),
        Figure(
            section="truth",
            name="commands rejected by the rules",
            value=traffic.rejections.total(),
            unit="commands",
            goal=none,
            met=not traffic.rejections,
        ),
        Figure(
            section="truth",
            name=f"verify: {report.verdict}, events compared",
            value=report.postgres_events or 0,
            unit="events",
            goal="equal",
            met=report.exit_status == 0,
        ),
    ]


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
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given = parser.parse_args()
    return Options(
        minutes=given.minutes, rate=given.rate, kill_every=given.kill_every, seed=given.seed
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


if __name__ == "__main__":
    main()

"""Times `purser verify` of one day beside traffic, as an operator runs it, with its memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from bench.day_load import SELLERS
from bench.figures import Figure, at_most
from bench.memory import MEGABYTE, memory_bytes
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.console import say
from stack.native import Stack
from writer.append import Writer
from writer.postgres import open_store

TRAFFIC_RATE = 10.0
"""Payments per second: enough that the day never stands still."""
BEGIN_SECONDS = 5.0
LOOK_SECONDS = 0.2
VERIFY_SECONDS = 1_800.0
PATIENCE_SECONDS = 120.0
GOAL_SECONDS = 180.0
SECTION = "purser verify of the day, beside traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How a run of `purser verify` ended; memory in megabytes at its highest."""

    seconds: float
    report: dict[str, Any]
    own_megabytes: float
    clickhouse_megabytes: float

    @property
    def verdict(self) -> str:
        """Of the report: equal, diverged, undecided."""
        return str(self.report["verdict"])


def verify_of_the_day(stack: Stack, day: date, seed: int) -> list[Figure]:
    """Send a little traffic and verify the day meanwhile."""
    settings = MarketplaceSettings(payments_per_second=TRAFFIC_RATE, sellers=SELLERS)
    steps = Marketplace(seed, datetime.now(UTC), settings).steps(86_400)
    with open_store(stack.endpoints.postgres_dsn) as store:
        finish = run_in_background(Traffic(Writer(store), steps))
        try:
            time.sleep(BEGIN_SECONDS)
            say("verifying the day beside a little traffic")
            verified = run_verify(stack, day)
        finally:
            traffic = finish()
    if verified.verdict != "equal":
        say(f"verify: {verified.verdict}: {verified.report['reason']}")
    return [
        *figures_of(verified),
        Figure(section=SECTION, name="live events meanwhile", value=traffic.events, unit="events"),
    ]


def figures_of(verified: Verified) -> list[Figure]:
    """The goal is about seconds, and that it says equal."""
    goal, met = at_most(GOAL_SECONDS, verified.seconds)
    events = verified.report["events"]["postgres"] or 0
    return [
        Figure(
            section=SECTION,
            name="from start to end",
            value=verified.seconds,
            unit="s",
            goal=goal,
            met=met,
        ),
        Figure(
            section=SECTION,
            name=f"verdict: {verified.verdict}, events compared",
            value=events,
            unit="events",
            goal="equal",
            met=verified.verdict == "equal",
        ),
        *(
            Figure(section=SECTION, name=f"peak memory, {name}", value=megabytes, unit="MB")
            for name, megabytes in (
                ("verify", verified.own_megabytes),
                ("ClickHouse", verified.clickhouse_megabytes),
            )
        ),
        *(
            Figure(
                section=SECTION,
                name=f"check {check['name']}",
                value=check["seconds"],
                unit="s",
            )
            for check in verified.report["checks"]
        ),
    ]


def run_verify(stack: Stack, day: date) -> Verified:
    """Run the command to its end, or until it has taken far too long."""
    clickhouse = stack.pid("clickhouse")
    peak = own = 0
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as printed,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "cli.main", "verify", "--json"),
                *("--since", day.isoformat(), "--timeout", f"{PATIENCE_SECONDS:g}"),
            ],
            env={**os.environ, **stack.endpoints.environment()},
            stdout=printed,
            stderr=subprocess.DEVNULL,
        ) as running,
    ):
        try:
            while running.poll() is None and time.monotonic() < started + VERIFY_SECONDS:
                own = max(own, peak_bytes(running.pid))
                if clickhouse is not None:
                    peak = max(peak, memory_bytes(clickhouse, children=True) or 0)
                time.sleep(LOOK_SECONDS)
        finally:
            running.kill()  # without effect if it has ended
        seconds = time.monotonic() - started
        printed.seek(0)
        text = printed.read()
    return Verified(
        seconds=seconds,
        report=parsed(text),
        own_megabytes=own / MEGABYTE,
        clickhouse_megabytes=peak / MEGABYTE,
    )


def parsed(text: str) -> dict[str, Any]:
    """The report that was printed; one that says so if there is none.

    An error would lose the figures of everything that was measured before.
    """
    try:
        report: dict[str, Any] = json.loads(text)
    except ValueError:
        reason = "it ended, or was ended, without a report"
        nothing = {"postgres": None, "clickhouse": None}
        return {"verdict": "undecided", "reason": reason, "events": nothing, "checks": []}
    return report


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")
    )

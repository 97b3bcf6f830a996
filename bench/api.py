"""A section: payments through the HTTP API, with the whole pipeline on the same machine.

The load and the simulator of the PSP are processes of their own. The simulator takes 50 ms for each
call, as a PSP does, without faults.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from bench.api_load import MEASURING, TOKEN
from bench.figures import Figure, at_least, at_most
from bench.sections import Bench, run_module
from bench.servers import cpu_seconds, spent_between
from bench.statements import OTHER, commits, counting, per_payment
from bench.survival import verify_stack
from operations.console import say
from schemas.errors import ServiceUnavailable
from stack.topology import OTHER_WORKERS, VIEWS_WORKERS

PSP_SECONDS = 0.05
TOTAL_MILLISECONDS, OWN_MILLISECONDS = 500.0, 150.0
CPU_MILLISECONDS = 2.0
CREATES_PER_SECOND = 500.0
WARM_UP_SECONDS = 10.0
RAMP_SECONDS = 15.0
RAMP_FACTOR = 1.25
RAMP_STEPS_MOST = 8
HELD_SHARE = 0.97
"""Of the payments due, so many are answered well when a rate counts as held."""
COUNTED_RATE, COUNTED_SECONDS = 20.0, 10.0
CLOSED_CONNECTIONS = 32
CLOSED_SECONDS = 20.0
CLOSED_RATE_MOST = 5_000.0
SETTLE_SECONDS = 120.0
API, WORKER, SIMULATOR = "api", "payins-worker", "simulator"
ALONE_STOPPED = (
    *(worker.name for worker in (*VIEWS_WORKERS, *OTHER_WORKERS) if worker.name != API),
    "connect",
    "kafka",
    "clickhouse",
)
"""What is stopped, in this order, so that only the API and PostgreSQL run."""
OF_VARIANT = {
    "direct": ("POST /v1/payments",),
    "confirm": ("POST /payments/init", "POST /payments/confirm"),
}


def api(bench: Bench) -> list[Figure]:
    """Latency, errors and CPU at the rate, statements, the highest rate, and creates alone."""
    os.environ[TOKEN] = _token(bench)
    with _psp_takes(bench, PSP_SECONDS):
        figures = [
            *_at_rate(bench, "direct"),
            *_at_rate(bench, "confirm"),
            *_statements(bench, "direct"),
            *_statements(bench, "confirm"),
            *_highest_rate(bench),
        ]
    figures += _verified(bench)
    return figures + _creates_alone(bench)


def _token(bench: Bench) -> str:
    """A token of the shop's backend, as `purser token` prints it."""
    printed = subprocess.run(
        [sys.executable, "-m", "cli.main", "token", "--role", "service", "--minutes", "600"],
        env={
            **os.environ,
            **bench.stack.endpoints.environment(),
            "PURSER_HOME": str(bench.stack.home.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if printed.returncode:
        raise ServiceUnavailable(f"purser token failed: {printed.stderr[-2000:]}")
    return printed.stdout.strip()


@contextmanager
def _psp_takes(bench: Bench, seconds: float) -> Iterator[None]:
    """Let every call of the simulator take so long inside the `with`."""
    url = f"{bench.stack.endpoints.environment()['PURSER_SIMULATOR_URL']}/_simulator/faults"
    plan = {"seed": bench.seed, "plan": {"latency_seconds": seconds}}
    httpx.put(url, json=plan, timeout=30).raise_for_status()
    try:
        yield
    finally:
        httpx.delete(url, timeout=30).raise_for_status()


def _run(
    bench: Bench,
    variant: str,
    rate: float,
    seconds: float,
    *more: str,
    warm_up: float = 0.0,
) -> tuple[dict[str, Any], dict[str, float]]:
    """What the load measured, and the CPU seconds of every process meanwhile."""
    before: dict[str, float] = {}
    busy_before = 0.0

    def heard(line: str) -> None:
        nonlocal busy_before
        if line.strip() == MEASURING:
            before.update(cpu_seconds(bench.stack))
            busy_before = _busy_seconds()

    seen: dict[str, Any] = run_module(
        bench,
        "bench.api_load",
        *("--rate", str(rate), "--seconds", str(seconds), "--variant", variant),
        *("--seed", str(bench.seed), "--warm-up", str(warm_up)),
        *more,
        heard=heard,
    )
    spent = spent_between(before, cpu_seconds(bench.stack))
    ours = sum(spent.values()) + seen["cpu_seconds"]
    seen["others"] = max(0.0, _busy_seconds() - busy_before - ours) / seen["seconds"]
    return seen, spent


def _busy_seconds() -> float:
    """CPU seconds of everything on this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def _well(seen: Mapping[str, Any]) -> int:
    """Answers of 2xx that needed no second attempt."""
    answered = sum(times for status, times in seen["statuses"].items() if status[0] == "2")
    return int(answered - sum(seen["resent"].values()))


def _errors(seen: Mapping[str, Any]) -> int:
    """Everything but a payment made at the first attempt."""
    made = sum(times for status, times in seen["statuses"].items() if status in ("200", "201"))
    return int(sum(seen["statuses"].values()) - made + sum(seen["resent"].values()))


def _at_rate(bench: Bench, variant: str) -> list[Figure]:
    """Latency, errors and CPU of each process at the given rate."""
    section = f"api, {variant}, {bench.rate:g} payments/s, PSP {1000 * PSP_SECONDS:g} ms"
    seen, spent = _run(bench, variant, bench.rate, bench.seconds, warm_up=WARM_UP_SECONDS)
    errors = _errors(seen)
    if errors:
        say(f"errors: {seen['statuses']} {seen['refusals']} {seen['resent']}")
    goal, met = at_most(0, errors)
    rate = seen["payments"] / seen["seconds"]
    figures = [
        _figure(section, "payments", rate, "payments/s"),
        _figure(section, "errors, other answers than 2xx and repeats", errors, "", goal, met),
    ]
    for operation in OF_VARIANT[variant]:
        figures += _latency(section, operation, seen["latency"][operation])
    for name, seconds in {**spent, "the load itself": seen["cpu_seconds"]}.items():
        milliseconds = 1000 * seconds / seen["payments"]
        judged: tuple[str, bool | None] = ("", None)
        if name == API:
            judged = at_most(CPU_MILLISECONDS, milliseconds)
        figures.append(_figure(section, f"CPU {name}", milliseconds, "ms/payment", *judged))
    return [*figures, _others(section, seen)]


def _others(section: str, seen: Mapping[str, Any]) -> Figure:
    """How quiet the machine was: what other programs took of it meanwhile."""
    return _figure(section, "taken by other programs", seen["others"], "cores")


def _latency(section: str, operation: str, latency: Mapping[str, float]) -> list[Figure]:
    figures = []
    for name, seconds in latency.items():
        milliseconds = 1000 * seconds
        goal, met = at_most(TOTAL_MILLISECONDS, milliseconds) if name == "p99" else ("", None)
        figures.append(_figure(section, f"{operation} {name}", milliseconds, "ms", goal, met))
    own = 1000 * (latency["p99"] - (0 if operation.endswith("init") else PSP_SECONDS))
    goal, met = at_most(OWN_MILLISECONDS, own)
    return [*figures, _figure(section, f"{operation} p99, of our own", own, "ms", goal, met)]


def _statements(bench: Bench, variant: str) -> list[Figure]:
    """What one payment asks of PostgreSQL, at a rate at which commands rarely meet in groups."""
    section = f"api, {variant}, asked of PostgreSQL by one payment"
    before = commits(bench.stack)
    with counting(bench.stack) as counted:
        seen, _ = _run(bench, variant, COUNTED_RATE, COUNTED_SECONDS)
    payments = seen["payments"]
    figures = [
        _figure(section, f"{program}: {kind}", times, "/payment")
        for program in (API, WORKER, OTHER)
        for kind, times in per_payment(counted.of(program), payments).items()
    ]
    committed = (commits(bench.stack) - before) / payments
    return [*figures, _figure(section, "commits, all programs", committed, "/payment")]


def _highest_rate(bench: Bench) -> list[Figure]:
    """Raise the rate until payments fail or are answered too late."""
    section = "api, direct, the highest rate"
    held, p99, rate = 0.0, 0.0, bench.rate
    for _ in range(RAMP_STEPS_MOST):
        seen, _ = _run(bench, "direct", rate, RAMP_SECONDS, warm_up=3.0)
        latency = seen["latency"][OF_VARIANT["direct"][0]]
        well = _well(seen) / seen["payments"]
        say(f"  {rate:.0f} payments/s: p99 {1000 * latency['p99']:.0f} ms, {well:.1%} well")
        if well < HELD_SHARE or 1000 * latency["p99"] > TOTAL_MILLISECONDS:
            break
        held, p99, rate = rate, latency["p99"], rate * RAMP_FACTOR
    return [
        _figure(section, f"held with p99 <= {TOTAL_MILLISECONDS:g} ms", held, "payments/s"),
        _figure(section, "p99 there", 1000 * p99, "ms"),
    ]


def _verified(bench: Bench) -> list[Figure]:
    report = verify_stack(bench.stack, SETTLE_SECONDS)
    goal, met = at_most(0, report.exit_status)
    return [
        _figure("api, afterwards", "exit status of `verify`", report.exit_status, "", goal, met)
    ]


def _creates_alone(bench: Bench) -> list[Figure]:
    """Creates (`init`) in one process when only it and PostgreSQL run."""
    section = "api, creates in one process when nothing else runs"
    running = [name for name in ALONE_STOPPED if bench.stack.pid(name) is not None]
    for name in running:
        bench.stack.stop(name)
    try:
        time.sleep(WARM_UP_SECONDS)  # what was stopped leaves work behind, such as vacuum
        seen, spent = _run(
            bench,
            "init",
            CLOSED_RATE_MOST,
            CLOSED_SECONDS,
            *("--closed", str(CLOSED_CONNECTIONS)),
        )
    finally:
        for name in reversed(running):
            bench.stack.start(name)
            bench.stack.wait_ready(name)
    rate = seen["payments"] / seen["seconds"]
    goal, met = at_least(CREATES_PER_SECOND, rate)
    latency = seen["latency"]["POST /payments/init"]
    milliseconds = {name: 1000 * spent[name] / seen["payments"] for name in (API, "postgres")}
    milliseconds["the load itself"] = 1000 * seen["cpu_seconds"] / seen["payments"]
    return [
        _figure(section, "creates", rate, "creates/s", goal, met),
        _figure(section, f"p99 with {CLOSED_CONNECTIONS} clients", 1000 * latency["p99"], "ms"),
        *(
            _figure(section, f"CPU {name}", each, "ms/payment")
            for name, each in milliseconds.items()
        ),
        _others(section, seen),
    ]


def _figure(
    section: str, name: str, value: float, unit: str, goal: str = "", met: bool | None = None
) -> Figure:
    return Figure(section=section, name=name, value=value, unit=unit, goal=goal, met=met)

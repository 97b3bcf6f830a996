"""Commit to visible at a steady rate, and what each event costs each process meanwhile."""

from collections.abc import Callable

from bench.figures import Figure, at_most
from bench.load import MEASURING, SELLERS
from bench.orders import EVENTS_PER_PAYMENT
from bench.sections import Bench, cpu_figures, run_module
from bench.servers import cpu_seconds, spent_between

LATENCY_WARM_UP_SECONDS = 15.0
"""Warms connections and compilers up, as they are in normal operation."""


def latency(bench: Bench) -> list[Figure]:
    """Commit to visible at a steady rate, for whole payments and for as many single events."""
    payments = f"latency, {bench.rate:g} payments/s and all their events"
    events = f"latency, {bench.rate:g} events/s"
    return [
        *latency_at(bench, payments, bench.rate, goal=True),
        *latency_at(bench, events, bench.rate / EVENTS_PER_PAYMENT),
    ]


def latency_at(
    bench: Bench,
    section: str,
    rate: float,
    *,
    goal: bool = False,
    sellers: int = SELLERS,
    begin: Callable[[], None] = lambda: None,
) -> list[Figure]:
    """The latency seen by a client, and each process's CPU time; `begin` follows the warm-up."""
    before: dict[str, float] = {}

    def heard(line: str) -> None:
        if line.strip() == MEASURING:
            begin()
            before.update(cpu_seconds(bench.stack))

    seen = run_module(
        bench,
        "bench.load",
        *("--rate", str(rate), "--seconds", str(bench.seconds)),
        *("--seed", str(bench.seed), "--warm-up", str(LATENCY_WARM_UP_SECONDS)),
        *("--sellers", str(sellers)),
        heard=heard,
    )
    spent = spent_between(before, cpu_seconds(bench.stack))
    visible = []
    for name, limit in (("p50", 100.0), ("p99", 250.0)):
        milliseconds = 1000 * seen[f"visible_{name}"]
        text, met = at_most(limit, milliseconds)
        visible.append(
            Figure(
                section=section,
                name=f"commit to visible {name}",
                value=milliseconds,
                unit="ms",
                goal=text if goal else "",
                met=met if goal else None,
            )
        )
    return [
        Figure(
            section=section,
            name="events appended",
            value=seen["events"] / seen["seconds"],
            unit="events/s",
        ),
        *(
            Figure(
                section=section,
                name=f"append {name}",
                value=1000 * seen[f"append_{name}"],
                unit="ms",
            )
            for name in ("p50", "p99")
        ),
        *group_figures(section, seen),
        *visible,
        *cpu_figures(section, {**spent, "the load itself": seen["cpu_seconds"]}, seen["events"]),
    ]


def group_figures(section: str, seen: dict[str, float]) -> list[Figure]:
    """How many commands the load appended in one transaction."""
    return [
        Figure(
            section=section,
            name=f"commands in a group, {name}",
            value=seen[f"group_{name}"],
            unit="commands",
        )
        for name in ("mean", "p50", "p99", "largest")
    ]

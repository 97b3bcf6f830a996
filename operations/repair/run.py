"""A repair from the look at the servers to the proof; killed at any step, it is run again.

Without `apply` it changes nothing: it looks, plans, and counts what a snapshot would send.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from connectors.debezium.settings import DebeziumSettings
from operations.exclusive import exclusive_session
from operations.repair.extent import measure
from operations.repair.facts import Extent
from operations.repair.look import look
from operations.repair.plan import Part, Plan, make_plan
from operations.repair.settings import RepairSettings
from operations.repair.world import World
from operations.verify import Report
from schemas.errors import ConfigurationError, InputError, UsageError


class RepairRefused(ConfigurationError):  # noqa: N818 - named for what happened
    """The repair cannot begin; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to repair.

    - `apply`: do the steps; otherwise only look, plan and count.
    - `everything`: send all of history again instead of what Kafka may lack.
    - `force`: take a new snapshot even if nothing seems wrong.
    - `verify_seconds`: how long the proof waits for rows that are on their way.
    - `on_plan`: called with the plan before its first step.
    """

    apply: bool = False
    everything: bool = False
    force: bool = False
    verify_seconds: float = 600.0
    on_plan: Callable[[Plan], None] = lambda _plan: None
    on_step: Callable[[str], None] = lambda _text: None
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None

    def __post_init__(self) -> None:
        if not 0 <= self.verify_seconds <= 86_400:
            raise UsageError("timeout", "give 0 to 86400 seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found, and what was done; `report` is None unless the repair was carried out."""

    plan: Plan
    extent: Extent | None = None
    report: Report | None = None


def repair(part: Part, options: Options) -> Outcome:
    """Look at everything that this repair depends on, plan it and, with `apply`, do it.

    Raises:
        RepairRefused: something else has to be repaired or granted first.
        InputError: another repair is running.
        PurserError: a server is down or refuses; run it again.
    """
    settings, debezium = RepairSettings.load(), DebeziumSettings.load()
    busy = InputError("repair", "another one is running; wait for it or stop it")
    dsn = settings.postgres_reader_dsn.get_secret_value()
    with exclusive_session(dsn, "purser repair", program="purser repair", busy=busy):
        facts = look(settings, debezium)
        plan = make_plan(part, facts, everything=options.everything, force=options.force)
        options.on_plan(plan)
        if plan.refused:
            raise RepairRefused(plan.refused)
        if options.apply and plan.steps:
            return _apply(plan, settings, debezium, options)
        extent = None
        if plan.takes_snapshot:
            extent = measure(settings, everything=plan.everything, on_progress=options.on_progress)
        return Outcome(plan=plan, extent=extent)


def _apply(
    plan: Plan, settings: RepairSettings, debezium: DebeziumSettings, options: Options
) -> Outcome:
    world = World(
        settings,
        debezium,
        everything=plan.everything,
        verify_seconds=options.verify_seconds,
        on_step=options.on_step,
        on_progress=options.on_progress,
    )
    with closing(world):
        for step in plan.steps:
            world.do(step)
    return Outcome(plan=plan, extent=world.extent, report=world.verified)

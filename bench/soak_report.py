"""What a soak was asked for, what it saw, and how that is judged."""

from dataclasses import dataclass, field

from bench.figures import Figure, at_least, at_most
from bench.lag import Recovery, recoveries
from bench.memory import Generation, judge
from marketplace.traffic import TrafficReport
from operations.verify import Report

LAG_MAX_SECONDS = 60.0
LAG_SMALL_SECONDS = 5.0
RATE_SHARE_MIN = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The requested run; `kill_every` is in seconds.

    `day_payments` are loaded before anything is sent.
    """

    minutes: float
    rate: float
    kill_every: float
    seed: int
    day_payments: int


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


def judgements(
    options: Options, seen: Seen, traffic: TrafficReport, report: Report, heap_megabytes: int
) -> list[Figure]:
    """All figures of a soak, with a goal each where there is one."""
    return [
        *_load(options, seen, traffic),
        *_memory(seen, heap_megabytes),
        *_lag(seen),
        *_truth(seen, traffic, report),
    ]


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

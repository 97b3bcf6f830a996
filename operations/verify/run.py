"""Run a verification: the order of the checks, their deadline, and the verdict."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from operations.verify import checks
from operations.verify.compare import Question, ask
from operations.verify.cut import Cut
from operations.verify.events import EventsCheck, EventsOutcome
from operations.verify.missing import Fate
from operations.verify.report import CheckResult, CutSummary, Finding, Report, Verdict
from operations.verify.settings import VerifySettings
from operations.verify.source import Source, Window
from operations.verify.views import Views
from operations.verify.way import NoWay, SlotAndTopic, Way
from schemas.errors import UsageError
from sinks.migrate import check_schema

CUTS_MAX = 3
"""Most cuts that are taken if rows turn out to be on the wrong side of a cut."""
AFTER_DIVERGENCE_SECONDS = 5.0
"""Once a difference is proven, the other checks wait only this long, or for their second look."""
LOOKS_SECONDS = 30.0
"""A check may look again for so long after its first look, however long the earlier ones took. On a
machine whose cores are full, the two sides of a busy seller are seldom read at the same moment."""
SECOND_LOOK_SECONDS = 10.0
"""The same once a check before it was not equal: then the verdict is not equal either."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to verify and how long to wait.

    - `timeout_seconds`: how long to wait for rows that may be on their way.
    - `rows`: most differences shown for each check.
    - `window`: days of occurred_at.
    - `questions`: the questions asked in addition to comparing the events.
    - `on_progress`: called with the current activity, how much is done, and of how much.
    """

    timeout_seconds: float = 60.0
    rows: int = 20
    window: Window = field(default_factory=Window)
    questions: Sequence[Question] = checks.QUESTIONS
    on_progress: Callable[[str, int, int], None] = _silent

    def __post_init__(self) -> None:
        if not 0 <= self.timeout_seconds <= 86_400:
            raise UsageError("timeout", "give 0 to 86400 seconds")
        if not 0 <= self.rows <= 500:
            raise UsageError("rows", "give 0 to 500")
        since, until = self.window.since, self.window.until
        if since and until and until < since:
            raise UsageError("until", f"{until} is before --since {since}")


def verify(settings: VerifySettings, options: Options) -> Report:
    """Compare source and views once.

    Raises:
        ServiceUnavailable: a server is down or closes the connection.
        ConfigurationError: a wrong address, user or password; a standby instead of the primary.
        SchemaVersionError: tables are missing or have another version than this code expects.
    """
    started = time.monotonic()
    check_schema(settings.clickhouse_url.get_secret_value())
    source_dsn = settings.postgres_reader_dsn.get_secret_value()
    with (
        Source(source_dsn) as source,
        Source(source_dsn) as now,
        Views(settings.clickhouse_url.get_secret_value()) as views,
    ):
        deadline = started + options.timeout_seconds
        check = EventsCheck(
            source, now, views, way := _way(settings, now), options.window, options.on_progress
        )
        cut, gaps, outcome, events = _compare_events(source, check, way, options, deadline)
        results = [gaps, events]
        for question in options.questions:
            if any(result.verdict is Verdict.DIVERGED for result in results):
                deadline = min(deadline, time.monotonic() + AFTER_DIVERGENCE_SECONDS)
            equal = all(result.verdict is Verdict.EQUAL for result in results)
            least = LOOKS_SECONDS if equal else SECOND_LOOK_SECONDS
            options.on_progress(question.name, 0, 0)
            results.append(
                ask(
                    question,
                    views,
                    now,
                    options.window,
                    deadline,
                    options.rows,
                    least_seconds=min(options.timeout_seconds, least),
                )
            )
        verdict, reason = _verdict(results, outcome, options.window)
        return Report(
            verdict=verdict,
            reason=reason,
            since=options.window.since,
            until=options.window.until,
            cut=CutSummary(taken_at=cut.taken_at, snapshot=str(cut)),
            postgres_events=outcome.postgres_events,
            clickhouse_events=outcome.clickhouse_events,
            dead_letters=views.dead_letters(),
            waited_seconds=outcome.waited_seconds,
            seconds=time.monotonic() - started,
            checks=results,
        )


def _way(settings: VerifySettings, now: Source) -> Way:
    if settings.kafka_bootstrap is None:
        return NoWay()
    return SlotAndTopic(
        now, settings.debezium_slot, settings.kafka_bootstrap, settings.payments_topic
    )


def _compare_events(
    source: Source, check: EventsCheck, way: Way, options: Options, deadline: float
) -> tuple[Cut, CheckResult, EventsOutcome, CheckResult]:
    """Run the checks that read PostgreSQL at one cut; take a newer cut if it was misjudged."""
    for attempt in range(1, CUTS_MAX + 1):
        cut = source.take_cut()
        way.begin()
        gaps = _source_sequences(source, options)
        compared_at = time.monotonic()
        outcome = check.compare(cut, deadline)
        if not outcome.misjudged or outcome.proven or attempt == CUTS_MAX:
            break
    findings = check.findings(outcome, options.rows)
    source.leave_cut()
    name, proves = checks.EVENTS
    events = CheckResult(
        name=name,
        proves=proves,
        verdict=_events_verdict(outcome),
        compared=outcome.postgres_events,
        differences=outcome.proven,
        differences_at_least=outcome.proven_at_least,
        findings=findings,
        seconds=time.monotonic() - compared_at,
        note=_events_note(outcome),
    )
    return cut, gaps, outcome, events


def _source_sequences(source: Source, options: Options) -> CheckResult:
    started = time.monotonic()
    gaps = source.sequence_gaps(options.window, options.rows)
    name, proves = checks.SOURCE_SEQUENCES
    return CheckResult(
        name=name,
        proves=proves,
        verdict=Verdict.DIVERGED if gaps.total else Verdict.EQUAL,
        compared=gaps.compared,
        differences=gaps.total,
        findings=[
            Finding(
                problem="gap",
                where={"payment_id": payment_id},
                columns={"events": (highest, count)},
                note="in PostgreSQL",
            )
            for payment_id, count, highest in gaps.examples
        ],
        seconds=time.monotonic() - started,
    )


def _events_verdict(outcome: EventsOutcome) -> Verdict:
    if outcome.proven:
        return Verdict.DIVERGED
    if outcome.buckets_differing:
        return Verdict.UNDECIDED
    return Verdict.EQUAL


def _events_note(outcome: EventsOutcome) -> str:
    late = outcome.difference.missing_count - outcome.count(Fate.LOST)
    if outcome.misjudged and not outcome.proven:
        return f"no cut held after {CUTS_MAX} tries: {outcome.misjudged}"
    if late > 0:
        oldest = outcome.difference.missing[0].recorded_at
        return (
            f"{late:,} of {outcome.postgres_events:,} events are not in ClickHouse yet, the oldest"
            f" recorded at {oldest.isoformat(timespec='seconds')}"
        )
    return ""


def _verdict(
    results: list[CheckResult], outcome: EventsOutcome, window: Window
) -> tuple[Verdict, str]:
    """Return the worst verdict, and one line about it.

    Two empty databases are equal. A range without events proves nothing: it may be mistyped.
    """
    diverged = [result for result in results if result.verdict is Verdict.DIVERGED]
    undecided = [result for result in results if result.verdict is Verdict.UNDECIDED]
    if diverged:
        names = ", ".join(result.name for result in diverged)
        return Verdict.DIVERGED, f"differences in {names}"
    if not undecided and outcome.postgres_events:
        return Verdict.EQUAL, ""
    if not undecided and window.is_open:
        return Verdict.EQUAL, "both sides are empty, no event has been appended yet"
    if not undecided:
        return (
            Verdict.UNDECIDED,
            f"there is no event {window}, so nothing was compared; check the days",
        )
    if outcome.difference.missing_count and not outcome.misjudged:
        return Verdict.UNDECIDED, f"lagging: {_events_note(outcome)}"
    notes = "; ".join(f"{result.name}: {result.note}" for result in undecided)
    return Verdict.UNDECIDED, f"could not tell: {notes}"

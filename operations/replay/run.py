"""A replay from its first step to its last, resumed after an interruption.

A dry run takes the same steps up to the proof. Then it also compares the live tables, swaps
nothing, and drops what it built.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec.structs import replace

from operations.replay.build import patient
from operations.replay.bulk import Progress, read_in_parallel, shares_of_keys, shares_of_topic
from operations.replay.choice import Choice
from operations.replay.database import SUFFIX, ReplayDatabase
from operations.replay.follow import Follower, start_positions
from operations.replay.lock import Lock, exclusive
from operations.replay.reader_process import ReaderPlan, Stored, TopicShare
from operations.replay.settings import ReplaySettings
from operations.replay.snapshot import RANGES, KeyShare, held_snapshot
from operations.replay.state import Source, State, Step
from operations.replay.swap import swap
from operations.replay.topic import Topic, begin
from operations.verify import Options as VerifyOptions
from operations.verify import Report, Verdict, VerifySettings, verify
from schemas.errors import InputError, PurserError, ServiceUnavailable, UsageError
from sinks.clickhouse import ClickHouseSink
from sinks.migrate import check_schema
from sinks.roll_up import RollUp
from sinks.settings import ClickHouseSettings

SHRINK = 2
"""The bulk path reads again what was appended meanwhile, as long as that shrinks by this factor."""


class ReplayDiverged(PurserError):  # noqa: N818 - named for what was found
    """The new tables differ from PostgreSQL (see `report`); nothing was swapped."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to rebuild, and how.

    - `views`: names; none for all.
    - `readers`: processes of the bulk path.
    - `records_per_second`: of the bulk path, all readers together; None: as fast as possible.
    - `verify_seconds`: how long `verify` waits for rows that are on their way.
    - `force`: swap the tables even if they differ from PostgreSQL.
    - `dry_run`: build and prove the new tables, verify the live ones, and drop the new ones.
    - `on_step`: called with the step that starts. `on_progress`: called with (what, records so far,
      of how many).
    """

    views: tuple[str, ...] = ()
    source: Source = Source.KAFKA
    readers: int = 2
    records_per_second: float | None = None
    verify_seconds: float = 60.0
    force: bool = False
    dry_run: bool = False
    on_step: Callable[[str], None] = lambda _text: None
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None

    def __post_init__(self) -> None:
        if not 1 <= self.readers <= 256:
            raise UsageError("processes", "give 1 to 256")
        if self.records_per_second is not None and not 1 <= self.records_per_second <= 1e9:
            raise UsageError("rate", "give records per second, at least 1")
        if not 0 <= self.verify_seconds <= 86_400:
            raise UsageError("timeout", "give 0 to 86400 seconds")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Result of a replay; `before` is the verdict on the new tables, `after` on the live ones.

    After a dry run the live tables are still the old ones, and the new ones are gone.

    `records` is the number that this run read in bulk, in `bulk_seconds`; `followed` is the number
    that it read batch by batch afterwards.
    """

    views: tuple[str, ...]
    source: Source
    records: int = 0
    bulk_seconds: float = 0.0
    followed: int = 0
    dead: int = 0
    resumed_at: Step | None = None
    before: Report | None = None
    after: Report | None = None
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def diverged(self) -> bool:
        """Whether the live tables are now proven to differ from PostgreSQL."""
        return self.after is not None and self.after.verdict is Verdict.DIVERGED


@contextmanager
def opened(settings: ReplaySettings, suffix: str = SUFFIX) -> Iterator[tuple[ReplayDatabase, Lock]]:
    """Open both databases and prevent other replays.

    Raises:
        SchemaVersionError: the live tables have another version than this code expects.
        InputError: another replay is running.
        ServiceUnavailable, ConfigurationError: a server is down, an address or password is wrong.
    """
    check_schema(settings.clickhouse_url.get_secret_value())
    with (
        ReplayDatabase(settings.clickhouse_url.get_secret_value(), suffix) as database,
        exclusive(settings, database.live) as lock,
    ):
        yield database, lock


class Replay:
    """One run over one database; after an interruption it may start at any step."""

    def __init__(
        self, settings: ReplaySettings, options: Options, database: ReplayDatabase, lock: Lock
    ) -> None:
        self._settings = settings
        self._options = options
        self._database = database
        self._lock = lock
        self._choice = Choice.of(options.views)
        self._outcome = Outcome(views=self._choice.names, source=options.source)

    def run(self) -> Outcome:
        """Rebuild, prove, swap.

        Raises:
            InputError: an unfinished replay of other views, or old tables, are in the way.
            ReplayDiverged: the new tables differ from PostgreSQL; nothing was swapped.
            TopicCutOff: the topic no longer has its first records.
            PurserError: a server is down or refuses; what is done is kept for the next run.
        """
        started = time.monotonic()
        state = self._database.state()
        if state is None:
            state = self._new()
        else:
            self._check_resumable(state)
            self._outcome.resumed_at = state.step
            self._options.on_step(f"resuming at: {state.step}")
        if state.step is not Step.SWAP:
            state = self._totals(self._read(state))
        if self._options.dry_run:
            self._prove_and_drop(state)
        else:
            self._prove_and_swap(state)
            self._outcome.rows = self._database.live_counts(self._choice.swapped)
        self._outcome.seconds = time.monotonic() - started
        return self._outcome

    # -- begin

    def _new(self) -> State:
        self._database.check_space(self._choice.built)
        with Topic(self._settings) as topic:
            ranges = topic.ranges()
        if self._options.source is Source.KAFKA:
            positions = begin(ranges, self._settings.payments_topic)
        else:
            # Taken before the snapshot: everything that the snapshot does not see comes after
            # these.
            positions = {partition: end for partition, (_, end) in ranges.items()}
        state = State(
            views=self._choice.names,
            source=self._options.source,
            step=Step.READ,
            started_at=datetime.now(UTC),
            start_positions=positions,
        )
        self._options.on_step(f"build in database {self._database.name}")
        # Without a state the database is the remainder of an interrupted drop, never a replay.
        self._database.drop()
        self._database.create(state)
        return state

    def _check_resumable(self, state: State) -> None:
        begun = f"the replay of {', '.join(state.views)} begun at {state.started_at:%Y-%m-%d %H:%M}"
        if state.step is Step.DONE:
            kept = "is done and its old tables are kept: --rollback to return to them, --cleanup"
            if state.rolled_back:
                kept = "was rolled back and the tables that it built are kept: --cleanup"
            raise InputError("replay", f"{begun} {kept} to drop them; then start again")
        if state.rolled_back:
            raise InputError(
                "replay",
                f"the rollback of {begun} is unfinished: --rollback again, or --cleanup to keep the"
                " live tables",
            )
        if (state.views, state.source) != (self._choice.names, self._options.source):
            raise InputError(
                "view",
                f"{begun} from {state.source} is unfinished: finish it with the same views and"
                " --source, or remove it with --cleanup",
            )

    # -- history

    def _read(self, state: State) -> State:
        """Read all of history except the last few records; resumes from what is stored."""
        if state.source is Source.POSTGRES and not state.snapshot_done:
            state = self._read_snapshot(state)
        left_before: float = float("inf")
        while True:
            positions = start_positions(self._database.positions(), state.start_positions)
            with Topic(self._settings) as topic:
                ends = topic.ends()
            left = sum(max(0, end - positions.get(p, 0)) for p, end in ends.items())
            if left <= self._settings.replay_tail_records_max or left > left_before / SHRINK:
                return state
            left_before = left
            if state.totals_done or state.step is not Step.READ:
                state = self._save(replace(state, step=Step.READ, totals_done=False))
            self._options.on_step(f"read {left:,} records of the topic")
            shares = shares_of_topic(positions, ends, self._options.readers)
            self._read_in_parallel(
                shares, [sum(s.ends[p] - s.positions[p] for p in s.ends) for s in shares]
            )

    def _read_snapshot(self, state: State) -> State:
        ranges = sorted(set(range(RANGES)) - set(state.ranges_done))
        with held_snapshot(self._settings) as held:
            self._options.on_step(f"read PostgreSQL's snapshot {held.snapshot}")

            def on_stored(stored: Stored) -> None:
                nonlocal state
                if stored.finished:
                    finished = (*state.ranges_done, *stored.finished)
                    state = self._save(replace(state, ranges_done=finished))

            shares = shares_of_keys(held.snapshot, ranges, self._options.readers)
            weights = [held.rows * len(share.ranges) // RANGES for share in shares]
            self._read_in_parallel(shares, weights, on_stored)
        return self._save(replace(state, snapshot_done=True))

    def _read_in_parallel(
        self,
        shares: Sequence[TopicShare | KeyShare],
        weights: Sequence[int],
        on_stored: Callable[[Stored], None] = lambda _stored: None,
    ) -> None:
        rate, total = self._options.records_per_second, max(1, sum(weights))
        progress = Progress(total=total)
        started = time.monotonic()
        self._options.on_progress("reading", 0, total)

        def stored(message: Stored) -> None:
            on_stored(message)
            self._options.on_progress("reading", progress.records, total)

        plans = [
            ReaderPlan(
                settings=self._settings,
                clickhouse_url=self._database.url,
                tables=tuple(table.name for table in self._choice.built),
                share=share,
                records_per_second=None if rate is None else max(1.0, rate * weight / total),
            )
            for share, weight in zip(shares, weights, strict=True)
        ]
        try:
            read_in_parallel(
                plans,
                progress,
                positions=self._database.positions,
                on_stored=stored,
                restarts_max=self._settings.replay_reader_restarts_max,
            )
        finally:
            self._outcome.records += progress.records
            self._outcome.dead += progress.dead
            self._outcome.bulk_seconds += time.monotonic() - started

    def _totals(self, state: State) -> State:
        if self._choice.has_totals and not state.totals_done:
            self._options.on_step("roll up the totals")
            state = self._save(state.at(Step.TOTALS))
            with closing(RollUp(ClickHouseSettings.load(self._database.url))) as roll_up:
                patient(self._settings.replay_give_up_seconds)(roll_up.finish)
        return self._save(replace(state, totals_done=True))

    # -- proof and swap

    def _prove_and_swap(self, state: State) -> None:
        positions = start_positions(self._database.positions(), state.start_positions)
        with (
            sink_of(self._database.url) as new_sink,
            sink_of(self._database.live_url) as live_sink,
            Follower(self._settings, self._choice, new_sink, live_sink, positions) as follower,
        ):
            if state.step is not Step.SWAP:
                state = self._save(state.at(Step.VERIFY))
                self._options.on_step("follow the topic and verify the new tables")
                follower.catch_up()
                with follower.in_background():
                    self._outcome.before = self._verified(self._database.url)
                self._judge(self._outcome.before)
                self._lock.check()
                state = self._save(
                    replace(
                        state,
                        step=Step.SWAP,
                        exchanges=self._database.uuids(self._choice.swapped),
                        old_positions=self._database.live_positions(),
                    )
                )
            swap(self._database, follower, self._choice, state.exchanges, self._options.on_step)
            self._outcome.followed = follower.records
            self._outcome.dead += follower.dead
        self._database.copy_missing_dead_letters()
        self._save(state.at(Step.DONE))
        self._options.on_step("verify the live tables")
        self._outcome.after = self._verified(self._database.live_url)

    def _prove_and_drop(self, state: State) -> None:
        positions = start_positions(self._database.positions(), state.start_positions)
        with (
            sink_of(self._database.url) as new_sink,
            sink_of(self._database.live_url) as live_sink,
            Follower(self._settings, self._choice, new_sink, live_sink, positions) as follower,
        ):
            state = self._save(state.at(Step.VERIFY))
            self._options.on_step("follow the topic and verify the new tables")
            follower.catch_up()
            with follower.in_background():
                self._outcome.before = self._verified(self._database.url)
            self._outcome.followed = follower.records
            self._outcome.dead += follower.dead
        self._options.on_step("verify the live tables")
        self._outcome.after = self._verified(self._database.live_url)
        self._options.on_step(f"drop database {self._database.name}")
        self._database.drop()

    def _verified(self, clickhouse_url: str) -> Report:
        settings = VerifySettings.load(
            postgres_reader_dsn=self._settings.postgres_reader_dsn, clickhouse_url=clickhouse_url
        )
        return verify(
            settings,
            VerifyOptions(
                timeout_seconds=self._options.verify_seconds,
                questions=self._choice.questions,
                on_progress=self._options.on_progress,
            ),
        )

    def _judge(self, report: Report) -> None:
        if report.verdict is Verdict.EQUAL or self._options.force:
            return
        if report.verdict is Verdict.UNDECIDED:
            raise ServiceUnavailable(
                f"could not tell whether the new tables are right: {report.reason}; nothing was"
                " swapped; run the same command again"
            )
        raise ReplayDiverged(
            f"the new tables are not what PostgreSQL holds: {report.reason}; nothing was swapped."
            " Redrive dead letters or fix the cause, then run the same command again; --force"
            " swaps anyway, --cleanup removes the new tables",
            report,
        )

    def _save(self, state: State) -> State:
        self._database.save(state)
        return state


@contextmanager
def sink_of(url: str) -> Iterator[ClickHouseSink]:
    """Open a sink for the length of a `with`."""
    sink = ClickHouseSink(ClickHouseSettings.load(url))
    try:
        yield sink
    finally:
        sink.close()

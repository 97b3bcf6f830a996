"""The pure parts of a replay: what is chosen, how work is spread, what is noted, what is hashed."""

import itertools
import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

import cli.replay
from cli.commands import app
from operations.replay import bulk
from operations.replay.bulk import shares_of_keys, shares_of_topic
from operations.replay.choice import VIEWS, Choice
from operations.replay.database import ReplayDatabase
from operations.replay.follow import start_positions
from operations.replay.lock import Lock
from operations.replay.reader_process import Pace, ReaderPlan, reached
from operations.replay.run import Options, Replay
from operations.replay.settings import ReplaySettings
from operations.replay.snapshot import RANGES, bounds
from operations.replay.state import Exchange, Source, State, Step
from operations.replay.topic import TopicCutOff, begin, check_kept
from operations.replay.undo import clean_up
from operations.verify import checks
from schemas.errors import ConfigurationError, InputError
from schemas.views import Table

CHOICES = [
    # named, swapped, built, checks beside the events themselves
    (
        [],
        {"payment_events", "ledger_entries", "buyer_orders", "payouts", "seller_revenue"},
        {"payment_events", "ledger_entries", "buyer_orders", "payouts", "seller_revenue"},
        [question.name for question in checks.QUESTIONS],
    ),
    (
        ["payment_events"],
        {"payment_events"},
        {"payment_events"},
        ["sequences_clickhouse", "refunds_within_captures"],
    ),
    (
        ["seller_revenue"],
        {"seller_revenue"},
        {"payment_events", "ledger_entries", "seller_revenue"},
        [
            "sequences_clickhouse",
            "ledger_entries",
            "postings_balance",
            "seller_revenue",
            "refunds_within_captures",
            "seller_balances",
            "account_days",
            "account_balances",
        ],
    ),
    (
        ["payouts", "buyer_orders"],
        {"payouts", "buyer_orders"},
        {"payment_events", "payouts", "buyer_orders"},
        ["sequences_clickhouse", "buyer_orders", "payouts", "refunds_within_captures"],
    ),
]


@pytest.mark.parametrize(("named", "swapped", "built", "questions"), CHOICES)
def test_a_choice_builds_what_proves_it(
    named: list[str], swapped: set[str], built: set[str], questions: list[str]
) -> None:
    choice = Choice.of(named)
    assert {table.name for table in choice.swapped} == swapped
    assert {table.name for table in choice.built} == built
    assert [question.name for question in choice.questions] == questions


def test_totals_change_places_after_their_entries_and_events_last() -> None:
    names = [table.name for table in VIEWS]
    assert names.index("seller_revenue") > names.index("ledger_entries")
    assert names[-1] == "payment_events"


@pytest.mark.parametrize("name", ["dead_letters", "pipeline_progress", "orders", ""])
def test_what_is_no_view_cannot_be_replayed(name: str) -> None:
    with pytest.raises(InputError, match="cannot be replayed"):
        Choice.of([name])


@given(
    ends=st.dictionaries(st.integers(0, 50), st.integers(0, 10**9), max_size=20),
    readers=st.integers(1, 8),
    data=st.data(),
)
def test_every_partition_with_something_left_has_one_reader(
    ends: dict[int, int], readers: int, data: st.DataObject
) -> None:
    positions = {
        partition: data.draw(st.integers(0, end))
        for partition, end in ends.items()
        if data.draw(st.booleans())
    }
    shares = shares_of_topic(positions, ends, readers)
    assert len(shares) <= readers
    read = [partition for share in shares for partition in share.ends]
    left = {partition for partition, end in ends.items() if positions.get(partition, 0) < end}
    assert sorted(read) == sorted(left)
    for share in shares:
        assert share.ends
        assert share.positions == {p: positions.get(p, 0) for p in share.ends}


def test_work_is_spread_by_its_size() -> None:
    shares = shares_of_topic({}, {0: 100, 1: 60, 2: 50, 3: 10}, 2)
    assert sorted(sum(share.ends.values()) for share in shares) == [110, 110]


@given(done=st.sets(st.integers(0, RANGES - 1)), readers=st.integers(1, 8))
def test_every_key_range_is_read_once(done: set[int], readers: int) -> None:
    wanted = sorted(set(range(RANGES)) - done)
    shares = shares_of_keys("snapshot", wanted, readers)
    assert sorted(number for share in shares for number in share.ranges) == wanted


def test_key_ranges_cover_every_payment_once() -> None:
    edges = [bounds(number) for number in range(RANGES)]
    assert edges[0][0] == UUID(int=0)
    assert edges[-1][1] == UUID(int=2**128 - 1)
    for (_, last), (first, _) in itertools.pairwise(edges):
        assert first.int == last.int + 1


def test_a_topic_is_read_from_its_first_record_or_not_at_all() -> None:
    assert begin({0: (0, 10), 1: (0, 0)}, "t") == {0: 0, 1: 0}
    with pytest.raises(TopicCutOff, match="partition 1 begins at offset 7") as refusal:
        begin({0: (0, 10), 1: (7, 9)}, "t")
    assert "--source postgres" in str(refusal.value)


def test_old_tables_come_back_only_if_the_topic_has_what_they_lack() -> None:
    check_kept({0: (7, 10), 1: (0, 0)}, {0: 7, 1: 0}, "t")
    with pytest.raises(TopicCutOff, match=r"partition 0 begins at offset 8, .* from 7 on"):
        check_kept({0: (8, 10), 1: (0, 0)}, {0: 7, 1: 0}, "t")


def test_reading_goes_on_behind_what_is_stored() -> None:
    assert start_positions({0: 7, 1: 3}, {0: 0, 1: 5, 2: 4}) == {0: 7, 1: 5, 2: 4}


@pytest.mark.parametrize(
    ("positions", "ends", "expected"),
    [
        ({0: 10}, {0: 10}, True),
        ({0: 11}, {0: 10}, True),
        ({0: 9}, {0: 10}, False),
        ({}, {0: 0}, True),
        ({}, {0: 1}, False),
        ({0: 5}, {}, True),
    ],
)
def test_ends_are_reached(positions: dict[int, int], ends: dict[int, int], expected: bool) -> None:
    assert reached(positions, ends) is expected


def test_a_pace_takes_small_batches_and_none_without_a_rate() -> None:
    assert Pace(None).batch(50_000) == 50_000
    assert Pace(1_000).batch(50_000) == 250
    assert Pace(1).batch(50_000) == 1


def test_the_state_comes_back_as_it_was_noted() -> None:
    state = State(
        views=("payouts",),
        source=Source.POSTGRES,
        step=Step.SWAP,
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        start_positions={0: 5, 3: 9},
        ranges_done=(1, 2),
        exchanges={"payouts": Exchange(new="a", old="b")},
        old_positions={0: 4},
    )
    assert State.decode(state.encode(), "purser_replay") == state


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1}'])
def test_a_state_that_cannot_be_read_says_how_to_go_on(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--cleanup --force"):
        State.decode(text, "purser_replay")


def test_the_state_of_another_version_is_refused() -> None:
    state = State(
        format=99,
        views=(),
        source=Source.KAFKA,
        step=Step.READ,
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        start_positions={},
    )
    with pytest.raises(ConfigurationError, match=r"another version.*--cleanup --force"):
        State.decode(state.encode(), "purser_replay")


# -- ways out of a replay that does not go on

NOTED = {
    "payouts": Exchange(new="new payouts", old="old payouts"),
    "payment_events": Exchange(new="new events", old="old events"),
}
SWAPPING = State(
    views=("payouts", "payment_events"),
    source=Source.KAFKA,
    step=Step.SWAP,
    started_at=datetime(2026, 1, 2, tzinfo=UTC),
    start_positions={0: 0},
    exchanges=NOTED,
)


def moved(exchange: Exchange) -> Exchange:
    return Exchange(new=exchange.old, old=exchange.new)


@dataclass
class FakeDatabase:
    """A replay's database; its state and tables are `found`, or cannot be read."""

    found: State | None = SWAPPING
    tables: dict[str, Exchange] | None = None
    dropped: bool = False

    def state(self) -> State:
        if self.found is None:
            raise ConfigurationError("the state cannot be read")
        return self.found

    def uuids(self, _tables: Sequence[Table]) -> dict[str, Exchange]:
        if self.tables is None:
            raise ConfigurationError("a table is gone")
        return self.tables

    def drop(self) -> None:
        self.dropped = True

    def clean_up(self, *, force: bool = False) -> None:
        clean_up(cast(ReplayDatabase, self), force=force)


@pytest.mark.parametrize(
    ("state", "tables"),
    [
        *((SWAPPING.at(step), None) for step in Step if step is not Step.SWAP),
        (SWAPPING, NOTED),
        (replace(SWAPPING, rolled_back=True), NOTED),
    ],
)
def test_what_no_swap_has_moved_is_dropped(
    state: State, tables: dict[str, Exchange] | None
) -> None:
    database = FakeDatabase(state, tables)
    database.clean_up()
    assert database.dropped


@pytest.mark.parametrize(
    ("state", "again"),
    [(SWAPPING, "the same views"), (replace(SWAPPING, rolled_back=True), "--rollback")],
)
@pytest.mark.parametrize(
    "tables",
    [
        NOTED | {"payouts": moved(NOTED["payouts"])},
        {name: moved(exchange) for name, exchange in NOTED.items()},
        NOTED | {"payouts": Exchange(new="new payouts", old="of another process")},
        None,
    ],
    ids=["some", "all", "of another process", "gone"],
)
def test_a_swap_half_way_is_finished_or_dropped_by_force(
    state: State, again: str, tables: dict[str, Exchange] | None
) -> None:
    database = FakeDatabase(state, tables)
    with pytest.raises(InputError, match=rf"with {again}.*--cleanup --force"):
        database.clean_up()
    assert not database.dropped
    database.clean_up(force=True)
    assert database.dropped


def test_a_replay_whose_state_cannot_be_read_is_dropped_by_force() -> None:
    database = FakeDatabase(None)
    with pytest.raises(ConfigurationError):
        database.clean_up()
    assert not database.dropped
    database.clean_up(force=True)
    assert database.dropped


SETTINGS = {
    "PURSER_POSTGRES_READER_DSN": "postgresql://reader:x@127.0.0.1:9/purser",
    "PURSER_CLICKHOUSE_URL": "http://purser:x@127.0.0.1:9/purser",
    "PURSER_KAFKA_BOOTSTRAP": "127.0.0.1:9",
}


@pytest.mark.parametrize(
    ("state", "message", "absent"),
    [
        (SWAPPING.at(Step.DONE), "--rollback to return to them, --cleanup to drop", "rolled back"),
        (replace(SWAPPING.at(Step.DONE), rolled_back=True), "--cleanup to drop", "--rollback"),
        (replace(SWAPPING, rolled_back=True), "--rollback again, or --cleanup", "start again"),
    ],
)
def test_what_is_in_the_way_of_a_new_replay_names_only_ways_that_are_open(
    monkeypatch: pytest.MonkeyPatch, state: State, message: str, absent: str
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    database = cast(ReplayDatabase, FakeDatabase(state))
    replay = Replay(ReplaySettings.load(), Options(), database, cast(Lock, None))
    with pytest.raises(InputError) as refusal:
        replay.run()
    assert message in str(refusal.value)
    assert absent not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ([], "run the same command again to resume, or drop the new tables with --cleanup"),
        (["--dry-run"], "the next dry run starts from the beginning; --cleanup drops what this"),
        (["--digest"], "nothing was changed"),
        (["--rollback"], "run the same command again to resume"),
        (["--cleanup"], "run the same command again"),
    ],
)
def test_an_interruption_says_how_this_mode_goes_on(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], advice: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli.replay, "_WORK", dict.fromkeys(cli.replay._WORK, interrupted))
    result = CliRunner().invoke(app, ["replay", *arguments])
    assert result.exit_code == 130
    assert f"interrupted; {advice}" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"readers": 0}, "processes"),
        ({"readers": 257}, "processes"),
        ({"records_per_second": 0.5}, "rate"),
        ({"records_per_second": float("nan")}, "rate"),
        ({"verify_seconds": -1}, "timeout"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, float], field: str) -> None:
    with pytest.raises(InputError, match=field):
        Options(**given)  # type: ignore[arg-type]


def test_ctrl_c_waits_while_a_reader_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child inherits what is blocked; it ignores Ctrl-C once its modules are loaded."""
    blocked = []
    context = multiprocessing.get_context("spawn")

    def start(_process: BaseProcess) -> None:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    monkeypatch.setattr(context.Process, "start", start)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    bulk._start(cast(ReaderPlan, None)).link.close()
    assert blocked == [before | {signal.SIGINT}]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before

"""After a replay: restore the old tables, or drop them."""

from dataclasses import dataclass

from msgspec.structs import replace

from operations.replay.choice import VIEWS, Choice
from operations.replay.database import ReplayDatabase
from operations.replay.follow import Follower, start_positions
from operations.replay.run import Options, sink_of
from operations.replay.settings import ReplaySettings
from operations.replay.state import State, Step
from operations.replay.swap import swap
from operations.replay.topic import Offsets, Topic, check_kept
from schemas.errors import ConfigurationError, InputError
from schemas.views import LEDGER_ENTRIES, SELLER_REVENUE


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """Views whose old tables are live again, and how many records brought them up to date."""

    views: tuple[str, ...]
    followed: int


def roll_back(settings: ReplaySettings, options: Options, database: ReplayDatabase) -> RolledBack:
    """Bring the old tables up to date from the topic, then exchange them back; repeatable.

    Raises:
        InputError: there is no finished replay to roll back.
        TopicCutOff: the topic no longer has what the old tables lack; nothing was changed.
        PurserError: a server is down; run it again.
    """
    state = database.state()
    if state is None or (state.step is not Step.DONE and not state.rolled_back):
        raise InputError("rollback", "no replay is finished, so there is nothing to roll back")
    if state.step is Step.DONE and state.rolled_back:
        raise InputError("rollback", "it is already done; --cleanup drops the tables of the replay")
    views = Choice.of(state.views)
    # The old recent entries are copied from the ledger beside them.
    needed = {*views.swapped, *([LEDGER_ENTRIES] if SELLER_REVENUE in views.swapped else [])}
    choice = Choice(swapped=views.swapped, built=tuple(table for table in VIEWS if table in needed))
    if not state.rolled_back:
        with Topic(settings) as topic:
            ranges = topic.ranges()
        # Before the rollback is recorded: from then on it can only be finished or cleaned up.
        check_kept(ranges, _from(state, state.old_positions), settings.payments_topic)
        state = replace(
            state,
            step=Step.SWAP,
            rolled_back=True,
            exchanges=database.uuids(choice.swapped),
            follow_from=state.old_positions,
            old_positions=database.live_positions(),
        )
        database.save(state)
    options.on_step("bring the old tables up to date")
    positions = _from(state, state.follow_from)
    with (
        sink_of(database.url) as new_sink,
        sink_of(database.live_url) as live_sink,
        Follower(
            settings, choice, new_sink, live_sink, positions, notes_progress=False
        ) as follower,
    ):
        swap(database, follower, choice, state.exchanges, options.on_step)
    database.save(state.at(Step.DONE))
    return RolledBack(views=choice.names, followed=follower.records)


def _from(state: State, noted: Offsets) -> dict[int, int]:
    """Return where bringing old tables up to date starts; 0 where no position was noted."""
    return start_positions(noted, dict.fromkeys(state.start_positions, 0))


def clean_up(database: ReplayDatabase, *, force: bool = False) -> None:
    """Drop the replay's database and all its tables; the live tables stay as they are.

    `force` drops it without a look at its state. If a swap was unfinished, the live tables may lack
    the last rows that the worker wrote meanwhile; a new replay restores them.

    Raises:
        ConfigurationError: its state cannot be read.
        InputError: a swap is unfinished and has moved tables; it has to be finished first.
    """
    state = None if force else database.state()
    if state is not None and state.step is Step.SWAP and _has_moved(database, state):
        again = "--rollback" if state.rolled_back else "the same views and --source"
        raise InputError(
            "cleanup",
            "the swap of tables was interrupted half-way; finish it first: run `purser replay` with"
            f" {again}. If that is impossible, --cleanup --force drops the tables all the same;"
            " then `purser verify` shows what the live ones lack",
        )
    database.drop()


def _has_moved(database: ReplayDatabase, state: State) -> bool:
    """Return whether any table is no longer where it was before the swap."""
    try:
        return database.uuids(Choice.of(state.views).swapped) != state.exchanges
    except ConfigurationError:
        return True  # a table is gone

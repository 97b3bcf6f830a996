"""After a replay: restore the old tables, or drop them."""

from dataclasses import dataclass

from msgspec.structs import replace

from operations.replay.choice import Choice
from operations.replay.database import ReplayDatabase
from operations.replay.follow import Follower, start_positions
from operations.replay.run import Options, sink_of
from operations.replay.settings import ReplaySettings
from operations.replay.state import State, Step
from operations.replay.swap import swap
from schemas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """Views whose old tables are live again, and how many records brought them up to date."""

    views: tuple[str, ...]
    followed: int


def roll_back(settings: ReplaySettings, options: Options, database: ReplayDatabase) -> RolledBack:
    """Bring the old tables up to date from the topic, then exchange them back; repeatable.

    Raises:
        InputError: there is no finished replay to roll back.
        TopicCutOff: the topic no longer has what the old tables lack.
        PurserError: a server is down; run it again.
    """
    state = database.state()
    if state is None or (state.step is not Step.DONE and not state.rolled_back):
        raise InputError("rollback", "no replay is finished, so there is nothing to roll back")
    if state.step is Step.DONE and state.rolled_back:
        raise InputError("rollback", "it is already done; --cleanup drops the tables of the replay")
    views = Choice.of(state.views)
    choice = Choice(swapped=views.swapped, built=views.swapped)
    if not state.rolled_back:
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
    positions = start_positions(state.follow_from, dict.fromkeys(state.start_positions, 0))
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


def clean_up(database: ReplayDatabase) -> State | None:
    """Drop the replay's database, whatever it contains; returns its state, None if it had none.

    Raises:
        InputError: a swap is unfinished; it has to be finished first.
    """
    state = database.state()
    if state is not None and state.step is Step.SWAP:
        again = "--rollback" if state.rolled_back else "the same views"
        raise InputError(
            "cleanup",
            "the swap of tables was interrupted half-way; finish it first: run `purser replay` with"
            f" {again}",
        )
    existed = database.exists()
    database.drop()
    return state if existed else None

"""How far a replay is: one small document, kept beside the tables that it is about.

Everything that a replay killed at any moment has to know when it is run again. Positions are not in
it: they are the progress rows of the replay's own database, written after the rows they cover.
"""

from datetime import datetime
from enum import StrEnum
from typing import Self

import msgspec

from schemas.errors import ConfigurationError

FORMAT = 1


class Source(StrEnum):
    """Where the history is read from; what comes after it always comes from the topic."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


class Step(StrEnum):
    """Steps of a replay, in order; each is noted before it begins and can be begun again."""

    READ = "read"
    """History becomes rows of tables that nobody looks at."""
    TOTALS = "totals"
    """The sellers' totals are computed from the entries, once."""
    VERIFY = "verify"
    """New tables follow the topic while they are compared with PostgreSQL."""
    SWAP = "swap"
    """Tables change places, and what the live worker wrote into the old ones at the last moment is
    written into the new."""
    DONE = "done"
    """The new tables are live; the old ones are kept."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One table's two incarnations before the swap, by their UUIDs: who is where says it all."""

    new: str
    old: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The document.

    `views` change places. `start_positions`: where reading the topic begins, by partition.
    `ranges_done`: ranges of payment ids whose rows are stored, `snapshot_done`: all of them are.
    `exchanges` by table and `old_positions`, the next offsets that the old tables may lack, are
    set before the first table moves. `rolled_back`: the old tables are, or are to be, live again;
    `follow_from` is from where they are brought up to date. `dry_run`: nothing is to be swapped.
    """

    format: int = FORMAT
    views: tuple[str, ...]
    source: Source
    step: Step
    started_at: datetime
    start_positions: dict[int, int]
    ranges_done: tuple[int, ...] = ()
    snapshot_done: bool = False
    totals_done: bool = False
    exchanges: dict[str, Exchange] = {}
    old_positions: dict[int, int] = {}
    rolled_back: bool = False
    dry_run: bool = False
    follow_from: dict[int, int] = {}

    def at(self, step: Step) -> Self:
        """The same, one step further."""
        return msgspec.structs.replace(self, step=step)

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str, database: str) -> Self:
        """From JSON.

        Raises:
            ConfigurationError: it was written by other code than this.
        """
        try:
            state = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigurationError(
                f"the state of the replay in database {database} cannot be read ({error}); remove"
                " the replay with `purser replay --cleanup`, then start anew"
            ) from error
        if state.format != FORMAT:
            raise ConfigurationError(
                f"the replay in database {database} was begun by another version of Purser; remove"
                " it with `purser replay --cleanup`, then start anew"
            )
        return state

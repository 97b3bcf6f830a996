"""The state of a replay: one small document, stored beside its tables.

It holds everything that a replay killed at any moment needs to resume. Positions are not part of
it: they are the progress rows in the replay's database, written after the rows that they cover.
"""

from datetime import datetime
from enum import StrEnum
from typing import Self

import msgspec

from schemas.errors import ConfigurationError

FORMAT = 2


class Source(StrEnum):
    """Where the history is read from. Later events always come from the topic."""

    KAFKA = "kafka"
    POSTGRES = "postgres"


class Step(StrEnum):
    """Steps of a replay, in order. Each is stored before it starts, and can be repeated."""

    READ = "read"
    """History is folded into tables that nobody reads yet."""
    TOTALS = "totals"
    """The totals are rolled up from the entries."""
    VERIFY = "verify"
    """The new tables follow the topic while they are compared with PostgreSQL."""
    SWAP = "swap"
    """Tables are exchanged. Rows that the live worker wrote to the old ones are written again."""
    DONE = "done"
    """The new tables are live; the old ones are kept."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """The UUIDs of a table's two versions before the swap, which show later what was swapped."""

    new: str
    old: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state document.

    `views` are exchanged. `start_positions`: where reading the topic starts, by partition.
    `ranges_done`: ranges of payment ids whose rows are stored; `snapshot_done`: all are.
    `exchanges` by raw table and `old_positions`, the next offsets that the old tables may lack, are
    set before the first exchange. `rolled_back`: the old tables are live again, or are to be;
    `follow_from` is where bringing them up to date starts.
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
    follow_from: dict[int, int] = {}

    def at(self, step: Step) -> Self:
        """Return the same state at another step."""
        return msgspec.structs.replace(self, step=step)

    def encode(self) -> str:
        """Return the state as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str, database: str) -> Self:
        """Parse JSON.

        Raises:
            ConfigurationError: it was written by another version, or it is damaged.
        """
        try:
            state = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigurationError(
                f"the state of the replay in database {database} cannot be read ({error}); remove"
                " the replay with `purser replay --cleanup --force`, then start again"
            ) from error
        if state.format != FORMAT:
            raise ConfigurationError(
                f"the replay in database {database} was started by another version of Purser;"
                " finish it with that version, or remove it with `purser replay --cleanup --force`,"
                " then start again"
            )
        return state

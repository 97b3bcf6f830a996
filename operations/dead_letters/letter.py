"""Parked records as values: whole, listed, counted, and the attempts to redrive them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from operations.dead_letters.position import Position
from schemas.errors import DecodeError
from streams.decode import Record

CHUNK_RECORDS_MAX = 1_000
CHUNK_BYTES_MAX = 32 * 1024 * 1024
"""Limits on whole records read at once; a larger record is read alone."""

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """Whether a parked record is still missing from the views."""

    OPEN = "open"
    REDRIVEN = "redriven"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A whole parked record; `value` is None if the record had none."""

    position: Position
    reason: str
    error: str
    key: bytes
    value: bytes | None
    recorded_at: datetime
    consumer: str
    parked_at: datetime
    state: State

    def record(self) -> Record:
        """Return the record as Kafka delivered it to the worker."""
        timestamp = (self.recorded_at - _EPOCH) // _MILLISECOND
        return Record(*self.position, timestamp, self.key, self.value)


class Listed(NamedTuple):
    """A parked record without its bytes; `size` counts those of key and value."""

    position: Position
    reason: str
    error: str
    recorded_at: datetime
    parked_at: datetime
    size: int
    is_null: bool
    state: State


class Summary(NamedTuple):
    """How often one reason occurs; the times are the records' own."""

    reason: str
    open: int
    redriven: int
    last_day: int
    first_recorded_at: datetime
    last_recorded_at: datetime


class Redrive(NamedTuple):
    """One attempt to fold a record again; see `RedriveRow`."""

    redriven_at: datetime
    redriven_by: str
    outcome: str
    reason: str
    error: str
    payment_id: UUID | None
    seq: int
    row_count: int


class Chosen(NamedTuple):
    """A record to redrive, and its size in bytes."""

    position: Position
    size: int
    state: State


def chunks(chosen: Iterable[Chosen]) -> Iterable[list[Position]]:
    """Group positions so that each group's records fit into memory."""
    group: list[Position] = []
    size = 0
    for one in chosen:
        if group and (len(group) == CHUNK_RECORDS_MAX or size + one.size > CHUNK_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(one.position)
        size += one.size
    if group:
        yield group


def known_reasons() -> frozenset[str]:
    """Return every reason for which this code parks a record."""
    kinds: list[type[DecodeError]] = [DecodeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.reason for kind in kinds)

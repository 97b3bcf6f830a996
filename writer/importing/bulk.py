"""Appends decided histories in bulk; repeating an import changes nothing.

A batch is one transaction. Rows that are already stored are compared, not appended: a history that
has grown gets its new rows, and one that differs is rejected. If the database refuses a batch, it
is retried line by line, so that only the bad line is left out. After a broken connection the batch
may or may not be stored; it is read again before it is retried.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from schemas.errors import InputError, Rejection
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import FIRST_EVENT
from writer.importing.history import CREATION_FIELDS, EVENT_FIELDS, event_index
from writer.importing.lines import Line
from writer.retry import retrying
from writer.store import EventStore

_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Decided:
    """A line and the rows that it records."""

    line: Line
    rows: tuple[NewEvent, ...]

    @property
    def payment_id(self) -> PaymentId:
        return PaymentId(self.rows[0].payment_id)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was left out, and why."""

    line: Line
    error: InputError


@dataclass(slots=True)
class Outcome:
    """Result of a batch: `payments` got `events` new rows, `unchanged` had all of theirs."""

    payments: int = 0
    events: int = 0
    unchanged: int = 0
    bad: list[BadLine] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add another batch's counts."""
        self.payments += other.payments
        self.events += other.events
        self.unchanged += other.unchanged
        self.bad += other.bad


class Target(Protocol):
    """Receives decided histories; a batch never has two of the same payment."""

    def write(self, batch: Sequence[Decided]) -> Outcome:
        """Make the payments of a batch equal to what their lines record."""


class BulkAppender:
    """`Target` in an event store."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._retrying = retrying(store)

    def write(self, batch: Sequence[Decided]) -> Outcome:
        try:
            return self._retrying.copy()(self._write, batch)
        except Rejection as rejection:
            if len(batch) == 1:
                error = InputError(rejection.field, f"{rejection.problem} [{rejection.code}]")
                return Outcome(bad=[BadLine(batch[0].line, error)])
        outcome = Outcome()
        for decided in batch:
            outcome.add(self.write([decided]))
        return outcome

    def _write(self, batch: Sequence[Decided]) -> Outcome:
        outcome = Outcome()
        new: list[NewEvent] = []
        stored = self._store.load_many([decided.payment_id for decided in batch])
        for decided in batch:
            try:
                missing = rows_missing(decided.rows, stored.get(decided.payment_id, ()))
            except InputError as error:
                outcome.bad.append(BadLine(decided.line, error))
                continue
            outcome.payments += bool(missing)
            outcome.unchanged += not missing
            outcome.events += len(missing)
            new += missing
        if new:
            self._store.append_many(new)
        return outcome


class DryRun:
    """`Target` that writes nothing; of this run's payments it remembers a digest of each row."""

    def __init__(self) -> None:
        self._seen: dict[PaymentId, tuple[int, bytes]] = {}

    def write(self, batch: Sequence[Decided]) -> Outcome:
        outcome = Outcome()
        for decided in batch:
            digests = _digests(decided.rows)
            first, before = self._seen.get(decided.payment_id, (decided.line.number, b""))
            common = min(len(before), len(digests))
            if digests[:common] != before[:common]:
                problem = f"is the key of line {first}, which records something else"
                error = InputError("idempotency_key", problem)
                outcome.bad.append(BadLine(decided.line, error))
            elif common == len(digests):
                outcome.unchanged += 1
            else:
                self._seen[decided.payment_id] = (first, digests)
                outcome.payments += 1
                outcome.events += (len(digests) - common) // _DIGEST_BYTES
        return outcome


def _digests(rows: Sequence[NewEvent]) -> bytes:
    """Return the rows' digests, one behind the other."""
    return b"".join(
        hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_DIGEST_BYTES).digest()
        for row in rows
    )


def rows_missing(rows: Sequence[NewEvent], stored: Sequence[Event]) -> Sequence[NewEvent]:
    """Return those of `rows` that are not stored yet; stored ones must be equal.

    A payment that continued after its import has more events than the history, which then counts as
    unchanged.

    Raises:
        InputError: names the field of the line that differs from what is stored.
    """
    for row, was in zip(rows, stored, strict=False):
        if msgspec.structs.astuple(row) != msgspec.structs.astuple(was)[:-1]:
            raise _difference(row, was)
    return rows[len(stored) :]


def _difference(row: NewEvent, was: Event) -> InputError:
    name = next(
        name for name in NewEvent.__struct_fields__ if getattr(row, name) != getattr(was, name)
    )
    if row.event_type == FIRST_EVENT[row.direction]:
        is_line = name in ("order_id", "seller_id") or name.endswith("_minor")
        path = f"orders[{row.seq - 1}].{name}" if is_line else CREATION_FIELDS.get(name, name)
    else:
        path = f"events[{event_index(row)}].{EVENT_FIELDS.get(name, name)}"
    return InputError(
        path,
        f"is {getattr(row, name)}, but {getattr(was, name)} is stored for this idempotency_key "
        f"(seq {row.seq}); stored events never change",
    )

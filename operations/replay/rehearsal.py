"""A rehearsal: fold the whole topic into memory and compare it with the live views; writes nothing.

Of each row only hashes and the version are kept. Live traffic may go on: what the live tables have
and the rehearsal has not read, or the other way round, is counted apart and judged by nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from operations.replay.build import folded_records
from operations.replay.choice import Choice
from operations.replay.digest import hash_of, hash_sql, row_hash_sql, text_sql, texts_of
from operations.replay.reader import TopicShare, read_topic
from operations.replay.settings import ReplaySettings
from operations.replay.topic import Topic, begin
from operations.verify.views import Views
from schemas.errors import InputError
from schemas.views import (
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    Columns,
    LedgerEntryRow,
    ProgressRow,
    RevenueKey,
    Table,
    columns_of,
)
from sinks.memory import totals_of
from sinks.revenue import ACCOUNT_TYPES
from streams.fold import FoldedBatch

BYTES_AN_EVENT = 2_500
"""About what an event's rows take here, with all views; looked at before a rehearsal begins."""


@dataclass(slots=True)
class Comparison:
    """One table: rows that are alike, and those that are not.

    `different`, `missing` and `extra` are proven to be wrong in the live table. `newer` rows the
    live table alone has seen, `pending` ones it has yet to be given.
    """

    equal: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    newer: int = 0
    pending: int = 0

    @property
    def differs(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.different or self.missing or self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What a rehearsal found; `records` read, of which `dead` cannot be folded."""

    records: int
    dead: int
    tables: dict[str, Comparison]

    @property
    def differs(self) -> bool:
        """Whether any table is not what the topic says."""
        return any(comparison.differs for comparison in self.tables.values())


@dataclass(slots=True)
class _Kept:
    """Key's hash -> row's hash, and -> version where the table has one."""

    hashes: dict[int, int] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)


class Rehearsal:
    """What a replay would build, as hashes; `upto` is the next offset of each partition."""

    def __init__(self, choice: Choice) -> None:
        self._kept: dict[Table, _Kept] = {table: _Kept() for table in choice.built}
        self._entries: dict[RevenueKey, list[LedgerEntryRow]] = {}
        self._has_totals = choice.has_totals
        self.upto: dict[int, int] = {}
        self.records = 0
        self.dead = 0

    def add(self, folded: FoldedBatch) -> None:
        """Keep these rows, each unless a higher version is there."""
        self.records += folded.event_count + len(folded.dead_letters)
        self.dead += len(folded.dead_letters)
        for table in self._kept:
            if table is not SELLER_REVENUE:
                self._keep(table, folded.columns.get(table, ()))
        for values in zip(*folded.columns[PIPELINE_PROGRESS], strict=True):
            row = ProgressRow(*values)
            self.upto[row.partition] = max(
                self.upto.get(row.partition, 0), int(row.last_offset) + 1
            )

    def finish(self) -> None:
        """Compute the totals of all entries kept."""
        if self._has_totals:
            totals = [totals_of(key, entries) for key, entries in self._entries.items()]
            self._keep(SELLER_REVENUE, columns_of(totals))

    def _keep(self, table: Table, columns: Columns) -> None:
        kept = self._kept[table]
        key_at = [table.columns.index(name) for name in table.key]
        version_at = table.columns.index(table.version) if table.version else None
        for row in zip(*columns, strict=True):
            texts = texts_of(table, row)
            key = hash_of([texts[position] for position in key_at])
            if version_at is not None:
                version = int(texts[version_at])
                if kept.versions.get(key, -1) > version:
                    continue
                kept.versions[key] = version
            elif table is LEDGER_ENTRIES and self._has_totals and key not in kept.hashes:
                self._keep_entry(row)
            kept.hashes[key] = hash_of(texts)

    def _keep_entry(self, row: tuple[Any, ...]) -> None:
        entry = LedgerEntryRow(*row)
        if entry.account_type in ACCOUNT_TYPES:
            key = RevenueKey(entry.account_id, entry.currency, entry.day)
            self._entries.setdefault(key, []).append(entry)

    # -- against the live tables

    def compare(self, table: Table, live: Views) -> Comparison:
        """With a live table, as far as both have seen the same."""
        done = {partition: last + 1 for partition, last in live.acknowledged().items()}
        live_has_all = all(done.get(partition, 0) >= end for partition, end in self.upto.items())
        found = self._differences(table, live, live_has_all=live_has_all)
        if all(last < self.upto.get(partition, 0) for partition, last in live.frontier().items()):
            # Nothing has come that was not read here: newer rows are not newer, they are false.
            found.extra += found.newer
            found.newer = 0
        return found

    def _differences(self, table: Table, live: Views, *, live_has_all: bool) -> Comparison:
        kept, found = self._kept[table], Comparison()
        events = self._kept[PAYMENT_EVENTS].hashes
        open_keys = set(kept.hashes)
        for key, version, row_hash, event, partition, offset in live.stream(_live_rows(table)):
            if key not in kept.hashes:
                newer = table is not PAYMENT_EVENTS or offset >= self.upto.get(partition, 0)
                if table is LEDGER_ENTRIES:
                    newer = event not in events
                found.newer += newer
                found.extra += not newer
                continue
            open_keys.discard(key)
            ours = kept.versions.get(key, 0)
            if version == ours:
                found.equal += row_hash == kept.hashes[key]
                found.different += row_hash != kept.hashes[key]
            elif version > ours:
                found.newer += 1
            elif live_has_all:
                found.different += 1
            else:
                found.pending += 1
        if live_has_all:
            found.missing = len(open_keys)
        else:
            found.pending += len(open_keys)
        return found


def _live_rows(table: Table) -> str:
    """Hash of the key, version, hash of the row; hash of (payment_id, seq), partition, offset."""
    version = f"toInt64({table.version})" if table.version else "toInt64(0)"
    event, place = "toUInt64(0)", "toInt64(0), toInt64(0)"
    if table in (PAYMENT_EVENTS, LEDGER_ENTRIES):
        event = hash_sql(text_sql(PAYMENT_EVENTS, name) for name in PAYMENT_EVENTS.key)
    if table is PAYMENT_EVENTS:
        place = "toInt64(kafka_partition), toInt64(kafka_offset)"
    key = hash_sql(text_sql(table, name) for name in table.key)
    return (
        f"SELECT {key}, {version}, {row_hash_sql(table)}, {event}, {place} FROM {table.raw} FINAL"
    )


def rehearse(
    settings: ReplaySettings, choice: Choice, on_progress: Callable[[int, int], None]
) -> Rehearsed:
    """Fold everything that the topic holds now, then compare with the live tables.

    Raises:
        InputError: there is not enough memory for it.
        TopicCutOff: the topic no longer has its first records.
        ServiceUnavailable: a server is away.
    """
    with Topic(settings) as topic:
        ranges = topic.ranges()
    positions = begin(ranges, settings.payments_topic)
    ends = {partition: end for partition, (_, end) in ranges.items()}
    total = sum(ends.values())
    _check_memory(total)
    rehearsal = Rehearsal(choice)
    on_progress(0, total)
    share = TopicShare(positions=positions, ends=ends)
    for records in read_topic(settings, share, lambda: settings.replay_rows_max):
        rehearsal.add(folded_records(records, choice.built))
        on_progress(rehearsal.records, total)
    rehearsal.finish()
    with Views(settings.clickhouse_url.get_secret_value()) as live:
        tables = {table.name: rehearsal.compare(table, live) for table in choice.swapped}
    return Rehearsed(records=rehearsal.records, dead=rehearsal.dead, tables=tables)


def _check_memory(events: int) -> None:
    wanted, available = events * BYTES_AN_EVENT, psutil.virtual_memory().available
    if wanted > available:
        raise InputError(
            "dry-run",
            f"{events:,} records take about {wanted / 1024**3:.1f} GiB of memory and"
            f" {available / 1024**3:.1f} are available; name one view, or rebuild without"
            " --dry-run: new tables are compared before they are swapped, too",
        )

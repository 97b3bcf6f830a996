"""A ClickHouse database into which entries of any age are written, and what its totals must be."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from schemas.events import Event
from schemas.lifecycle import EventType as E
from schemas.views import LEDGER_ENTRIES, SELLER_REVENUE, LedgerEntryRow
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.memory import MemorySink
from sinks.migrate import migrate
from sinks.roll_up import RollUp
from sinks.settings import ClickHouseSettings
from streams.fold import FoldedBatch, fold_batch
from tests.clickhouse_server import database
from tests.events import pay_in, payout, records
from tests.waiting import wait_until

SELLERS, CURRENCIES = ("seller-1", "seller-2", "stripe"), ("EUR", "JPY")
MIDNIGHT_MARGIN = timedelta(minutes=3)


class Killed(Exception):  # noqa: N818 - named for what it stands for
    """The roll-up's process dies here."""


class MortalRollUp(RollUp):
    """Dies before one of its statements, counted from 1; None: never."""

    dies_before: int | None = None
    before: Callable[[str], None] = staticmethod(lambda _sql: None)

    def _command(self, sql: str, parameters: dict[str, Any]) -> None:
        if self.dies_before is not None:
            self.dies_before -= 1
            if not self.dies_before:
                raise Killed
        self.before(sql)
        super()._command(sql, parameters)


@dataclass
class World:
    """The database, its writers, and a sink in memory that holds the same rows."""

    url: str
    settings: ClickHouseSettings
    expected: MemorySink = field(default_factory=MemorySink)
    seq: int = 0

    def __post_init__(self) -> None:
        self.client = connect(self.settings)
        self.sinks = [ClickHouseSink(self.settings) for _ in range(2)]
        self.roll_ups = [MortalRollUp(self.settings) for _ in range(2)]

    def close(self) -> None:
        for each in (*self.sinks, *self.roll_ups, self.client):
            each.close()

    # -- writing

    def events(self, random: Random, count: int, recorded_at: datetime) -> list[Event]:
        """Events of one recording time that move money, and happened then or days before."""
        return [self._event(random, recorded_at) for _ in range(count)]

    def _event(self, random: Random, recorded_at: datetime) -> Event:
        self.seq += 1
        of: dict[str, Any] = {
            "payment_id": UUID(int=random.getrandbits(16) + 1),
            "seq": self.seq,
            "seller_id": random.choice(SELLERS),
            "currency": random.choice(CURRENCIES),
            "recorded_at": recorded_at,
            "occurred_at": recorded_at - timedelta(days=random.choice((0, 0, 0, 1, 40))),
        }
        amount = random.randint(10, 10**6)
        if random.random() < 0.2:
            return payout(E.REQUESTED, amount_minor=amount, available_delta_minor=-amount, **of)
        return pay_in(
            random.choice((E.CAPTURED, E.REFUNDED)), amount_minor=amount, commission_minor=5, **of
        )

    def fold(self, events: Iterable[Event]) -> FoldedBatch:
        batch = fold_batch(records(events), consumer="views", parked_at=datetime.now(UTC))
        assert not batch.dead_letters
        return batch

    def write(self, events: Iterable[Event], *, sink: int = 0, noted: bool = True) -> FoldedBatch:
        """Write the events, and note them as the worker does."""
        batch = self.fold(events)
        self.sinks[sink].write(batch.columns)
        self.expected.write(batch.columns)
        if noted:
            self.sinks[sink].note_minutes(batch.minutes)
        return batch

    # -- reading

    def totals(self) -> list[tuple[Any, ...]]:
        columns = ", ".join(SELLER_REVENUE.columns)
        found = self.client.query(f"SELECT {columns} FROM seller_revenue ORDER BY 1, 2, 3")
        return [tuple(row) for row in found.result_rows]

    def account_days(self) -> dict[tuple[Any, ...], int]:
        return self._sums("account_type, account_id, currency, day", "amount_minor", "account_days")

    def account_balances(self) -> dict[tuple[Any, ...], int]:
        return self._sums("account_type, account_id, currency", "balance_minor", "account_balances")

    def _sums(self, key: str, amount: str, view: str) -> dict[tuple[Any, ...], int]:
        rows = self.client.query(f"SELECT {key}, {amount} FROM {view}").result_rows
        found = {tuple(row[:-1]): int(row[-1]) for row in rows}
        assert len(found) == len(rows), "a key twice"
        return found

    def check(self) -> None:
        """All views of totals are the sums of the entries written."""
        assert self.totals() == [tuple(row) for row in self.expected.rows(SELLER_REVENUE)]
        days: Counter[tuple[Any, ...]] = Counter()
        accounts: Counter[tuple[Any, ...]] = Counter()
        for row in self.expected.rows(LEDGER_ENTRIES):
            entry = LedgerEntryRow(*row)
            account = (str(entry.account_type), entry.account_id, entry.currency)
            accounts[account] += entry.amount_minor
            days[*account, entry.day] += entry.amount_minor
        assert self.account_days() == {key: total for key, total in days.items() if total}
        assert self.account_balances() == {key: total for key, total in accounts.items() if total}

    def rows_of(self, kind: str, level: str) -> int:
        """How many rows of one kind and level there are."""
        return int(
            self.client.query(
                "SELECT count() FROM totals_raw FINAL WHERE kind = {kind:String}"
                " AND level = {level:String}",
                parameters={"kind": kind, "level": level},
            ).result_rows[0][0]
        )

    def open_buckets(self, level: str) -> set[datetime]:
        """The open buckets of a level."""
        rows = self.client.query(
            "SELECT bucket FROM totals_unrolled WHERE level = {level:String}"
            " AND (written > rolled OR written_late > rolled_late)",
            parameters={"level": level},
        ).result_rows
        return {bucket.replace(tzinfo=UTC) for (bucket,) in rows}


@contextmanager
def new_world(server_url: str) -> Iterator[World]:
    """A world in a database of its own."""
    with database(server_url) as url:
        migrate(url)
        world = World(url, ClickHouseSettings.load(url))
        try:
            yield world
        finally:
            world.close()


def now_away_from_midnight() -> datetime:
    """Now, but not in the last minutes of a day: a test would fall into two."""

    def is_away() -> bool:
        return (datetime.now(UTC) + MIDNIGHT_MARGIN).date() == datetime.now(UTC).date()

    wait_until(is_away, "the day begins", seconds=2 * MIDNIGHT_MARGIN.total_seconds())
    return datetime.now(UTC)

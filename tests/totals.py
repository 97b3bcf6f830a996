"""Totals that are rolled up at once, for tests that look at totals or tamper with them."""

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime

from clickhouse_connect.driver.client import Client

from schemas.views import TOTALS
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.roll_up import Rolled, RollUp
from sinks.settings import ClickHouseSettings


def note(url: str, minutes: Iterable[datetime]) -> None:
    """Note minutes as yet another writer: their buckets are open again."""
    with closing(ClickHouseSink(ClickHouseSettings.load(url))) as sink:
        sink.note_minutes(minutes)


def roll_up(url: str) -> Rolled:
    """Roll up all that is over; readers rely on it at once, as if it were done some time ago."""
    with closing(RollUp(ClickHouseSettings.load(url))) as roller:
        rolled = roller.finish()
    with closing(connect(ClickHouseSettings.load(url))) as client:
        settle(client)
    return rolled


def settle(client: Client) -> None:
    """Let readers rely on what was just rolled up."""
    client.command(
        f"INSERT INTO {TOTALS} SELECT * REPLACE (rolled_at - INTERVAL 2 HOUR AS rolled_at)"
        f" FROM {TOTALS} WHERE kind IN ('rolled', 'rolled_late')"
    )

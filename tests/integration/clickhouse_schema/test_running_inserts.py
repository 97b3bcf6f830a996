"""Inserts that still run while tables are exchanged: a swap waits for them."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from clickhouse_connect.driver.client import Client

from operations.replay.database import ReplayDatabase
from schemas.views import BUYER_ORDERS, LEDGER_ENTRIES
from sinks.migrate import migrate
from sinks.revenue import REBUILD, REFRESH
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

SECONDS = 3
# Reads the entries, as a refresh of the totals does, and takes its time.
SLOW = f"""
INSERT INTO {{database}}.seller_revenue_raw (seller_id, entry_count)
SELECT 'nobody', (SELECT count() FROM {{database}}.ledger_entries_raw) + sleepEachRow({SECONDS})
FROM numbers(1)
"""


@pytest.mark.parametrize("first", ["", "\n\n", "-- totals\n", "/* totals */ "])
def test_an_insert_is_seen_while_it_runs_however_its_text_begins(
    empty_url: str, server: Client, first: str
) -> None:
    migrate(empty_url)
    statement = first + SLOW.format(database=empty_url.rsplit("/", 1)[1])
    with ReplayDatabase(empty_url) as database, ThreadPoolExecutor(1) as threads:
        assert not database.running_inserts(LEDGER_ENTRIES)
        running = threads.submit(server.command, statement)
        wait_until(partial(database.running_inserts, LEDGER_ENTRIES), "the insert runs")
        assert not database.running_inserts(BUYER_ORDERS)
        running.result()
        assert not database.running_inserts(LEDGER_ENTRIES)


@pytest.mark.parametrize("statement", [REFRESH, REBUILD], ids=["refresh", "rebuild"])
def test_the_statements_of_the_totals_name_the_entries(statement: str) -> None:
    assert LEDGER_ENTRIES.raw in statement

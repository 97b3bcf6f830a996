"""What only the sink in front of a real server can get wrong."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from schemas.errors import (
    ConfigurationError,
    SchemaVersionError,
    ServiceUnavailable,
    WriteRefused,
)
from schemas.lifecycle import EventType as E
from schemas.views import (
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PIPELINE_PROGRESS,
    TABLES,
    Table,
    columns_of,
)
from sinks.arrow import arrow_columns
from sinks.clickhouse import INSERT_SETTINGS, WRITE_ORDER, ClickHouseSink
from sinks.client import connect
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from tests.clickhouse_server import PASSWORD, database, own_server
from tests.contract.sinks.conftest import folded, recorded
from tests.events import NOON, pay_in, records
from tests.totals import roll_up

pytestmark = pytest.mark.integration

CAPTURE = pay_in(E.CAPTURED, amount_minor=100, commission_minor=10)
BATCH = fold_batch(records([CAPTURE]), consumer="views", parked_at=NOON)


@contextmanager
def sink_at(url: str, **limits: int | str) -> Iterator[ClickHouseSink]:
    settings = ClickHouseSettings.load(url).model_copy(update=limits)
    sink = ClickHouseSink(settings)
    try:
        yield sink
    finally:
        sink.close()


def count(url: str, table: str) -> int:
    client = connect(ClickHouseSettings.load(url))
    try:
        return int(client.command(f"SELECT count() FROM {table}"))
    finally:
        client.close()


def taken_out(url: str, tables: Iterable[Table]) -> dict[str, Any]:
    """The rows of these tables, which are empty afterwards."""
    client = connect(ClickHouseSettings.load(url))
    try:
        found = {
            table.name: client.query(f"SELECT * FROM {table.raw} ORDER BY ALL").result_rows
            for table in tables
        }
        for name in found:
            client.command(f"TRUNCATE TABLE {name}_raw")
    finally:
        client.close()
    return found


def test_every_table_has_its_place_in_the_order_of_writing() -> None:
    assert sorted(table.name for step in WRITE_ORDER for table in step) == sorted(TABLES)


WARMED_UP = """
import sys
from tests.contract.sinks.test_clickhouse_sink import BATCH, count, sink_at
with sink_at(sys.argv[1]) as sink:
    sink.warm_up()
    assert count(sys.argv[1], "payment_events_raw") == 0
    loaded = set(sys.modules)
    sink.write(BATCH.columns)
    print(sorted(set(sys.modules) - loaded))
"""


def test_warming_up_writes_nothing_and_leaves_nothing_to_load_to_the_first_insert(
    clickhouse_url: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WARMED_UP, clickhouse_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr
    assert count(clickhouse_url, "payment_events_raw") == 1


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_any_compression_arrives(clickhouse_url: str, compression: str) -> None:
    with sink_at(clickhouse_url, clickhouse_compression=compression) as sink:
        sink.write(BATCH.columns)
        sink.note_minutes(BATCH.minutes)
    assert count(clickhouse_url, "payment_events WHERE seller_id = 'seller-1'") == 1
    assert count(clickhouse_url, "seller_revenue WHERE net_minor = 90") == 1


def test_packed_columns_are_written_as_plain_ones_are(clickhouse_url: str) -> None:
    filled = [table for table, columns in BATCH.columns.items() if any(columns)]
    assert len(filled) > 1
    with sink_at(clickhouse_url) as sink:
        sink.write({table: arrow_columns(table, [BATCH.columns[table]]) for table in filled})
        as_packed = taken_out(clickhouse_url, filled)
        sink.write(BATCH.columns)
    assert all(as_packed.values())
    assert as_packed == taken_out(clickhouse_url, filled)


def test_history_of_more_years_than_a_server_likes_in_one_insert(clickhouse_url: str) -> None:
    events = [
        pay_in(E.CAPTURED, seq=n + 1, amount_minor=5, occurred_at=NOON.replace(year=1971 + n))
        for n in range(140)
    ]
    batch = fold_batch(records(events), consumer="views", parked_at=NOON)
    with sink_at(clickhouse_url) as sink:
        sink.write(batch.columns)
        sink.note_minutes(batch.minutes)
    assert count(clickhouse_url, "payment_events_raw") == 140
    assert count(clickhouse_url, "seller_revenue") == 140


REBUILT = ("payment_events_raw", "ledger_entries_raw", "recent_entries_raw", "totals_raw")


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=4_000)], ids=["now", "years ago"])
def test_the_same_block_again_after_a_rebuild_is_not_taken_for_a_duplicate(
    clickhouse_url: str, age: timedelta
) -> None:
    """Replicated tables remember blocks; here the plain ones are told to."""
    client = connect(ClickHouseSettings.load(clickhouse_url))
    window = "non_replicated_deduplication_window = 100"
    wait = "SETTINGS mutations_sync = 1"
    for table in REBUILT:
        client.command(f"ALTER TABLE {table} MODIFY SETTING {window}")
    batch = folded(*recorded([CAPTURE], age))
    rolled_up = []
    with sink_at(clickhouse_url) as sink:
        for _ in range(2):
            sink.write(batch.columns)
            sink.note_minutes(batch.minutes)
            if age:
                roll_up(clickhouse_url)
            entries = 0 if age else 3
            assert [count(clickhouse_url, table) for table in REBUILT[:3]] == [1, 3, entries]
            assert count(clickhouse_url, "seller_revenue WHERE net_minor = 90") == 1
            rolled_up.append(count(clickhouse_url, "totals_raw FINAL WHERE kind = 'total'"))
            for table in REBUILT:
                client.command(f"ALTER TABLE {table} DELETE WHERE 1 {wait}")
                assert count(clickhouse_url, table) == 0
    client.close()
    # Of years ago: a day and a month, each of the seller and of the PSP.
    assert rolled_up == [4 if age else 0] * 2


@pytest.mark.parametrize(
    "age", [timedelta(hours=1), timedelta(days=7)], ids=["an hour ago", "a week ago"]
)
def test_totals_of_fewer_entries_that_are_stored_last_do_not_win(
    clickhouse_url: str, age: timedelta
) -> None:
    """A roll-up that added up before the last entries came may store its totals after another."""
    batch = folded(*recorded([CAPTURE], age))
    with sink_at(clickhouse_url) as sink:
        sink.write(batch.columns)
        sink.note_minutes(batch.minutes)
    roll_up(clickhouse_url)
    client = connect(ClickHouseSettings.load(clickhouse_url))
    for counted, gross_minor in ((-1, 100), (+1, 107)):
        client.command(
            "INSERT INTO totals_raw"
            f" SELECT * REPLACE (version + {counted} AS version, gross_minor + 7 AS gross_minor)"
            " FROM totals_raw FINAL WHERE kind = 'total' AND seller_entry_count > 0"
        )
        [[found]] = client.query("SELECT gross_minor FROM seller_revenue").result_rows
        assert found == gross_minor
    client.close()


DAYS = 2_500
"""More than the address of one request holds."""


def test_minutes_of_any_number_are_noted(clickhouse_url: str) -> None:
    """A worker that was away for days, or reads years of history, settles them all at once."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = {now - timedelta(minutes=n) for n in range(4 * 24 * 60)}
    days = {now - timedelta(days=n) for n in range(DAYS)}
    with sink_at(clickhouse_url) as sink:
        sink.note_minutes(minutes | days)
    assert count(clickhouse_url, "totals_unrolled WHERE level = 'day'") == DAYS
    since = (now - timedelta(hours=12)).strftime("%Y-%m-%d %H:%M:00")
    minute = f"totals_unrolled WHERE level = 'minute' AND bucket > '{since}'"
    assert count(clickhouse_url, minute) == 12 * 60


def test_late_days_of_any_number_are_rolled_up(clickhouse_url: str) -> None:
    events = [
        pay_in(E.CAPTURED, seq=n + 1, amount_minor=5, recorded_at=NOON - timedelta(days=n))
        for n in range(DAYS)
    ]
    batch = fold_batch(records(events), consumer="views", parked_at=NOON)
    with sink_at(clickhouse_url) as sink:
        sink.write({LEDGER_ENTRIES: batch.columns[LEDGER_ENTRIES]})
        sink.note_minutes(batch.minutes)
    assert roll_up(clickhouse_url).days == DAYS
    assert count(clickhouse_url, "totals_unrolled") == 0
    assert count(clickhouse_url, f"seller_revenue WHERE gross_minor = {5 * DAYS}") == 1


# The local server passes inserts to its engine in a way that no table remembers, so the engine is
# asked itself, in a process of its own.
INSERT_DELETE_INSERT = """
import chdb, sys
engine = chdb.connect(sys.argv[1])
engine.query("CREATE DATABASE d")
engine.query(
    "CREATE TABLE d.t (a Int8) ENGINE = MergeTree ORDER BY a"
    " SETTINGS non_replicated_deduplication_window = 100"
)
engine.query(f"INSERT INTO d.t {sys.argv[2]} VALUES (7)")
engine.query("ALTER TABLE d.t DELETE WHERE 1 SETTINGS mutations_sync = 1")
engine.query(f"INSERT INTO d.t {sys.argv[2]} VALUES (7)")
print(str(engine.query("SELECT count() FROM d.t")).strip())
"""


@pytest.mark.parametrize(
    ("settings", "expected"), [(INSERT_SETTINGS, "1"), ({}, "0")], ids=["ours", "the engine's"]
)
def test_our_insert_settings_keep_a_block_that_the_engine_would_drop(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    clause = "SETTINGS " + ", ".join(f"{k} = {v!r}" for k, v in settings.items())
    ended = subprocess.run(
        [sys.executable, "-c", INSERT_DELETE_INSERT, str(tmp_path), clause if settings else ""],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == expected


def test_events_are_not_visible_before_what_they_make(clickhouse_url: str) -> None:
    client = connect(ClickHouseSettings.load(clickhouse_url))
    client.command("RENAME TABLE ledger_entries_raw TO hidden")
    with sink_at(clickhouse_url) as sink:
        with pytest.raises(SchemaVersionError, match=r"ledger_entries_raw.*purser migrate"):
            sink.write(BATCH.columns)
        assert count(clickhouse_url, "payment_events_raw") == 0
        assert count(clickhouse_url, "pipeline_progress_raw") == 0
        # Nothing is left half done once it can be written.
        client.command("RENAME TABLE hidden TO ledger_entries_raw")
        sink.write(BATCH.columns)
    client.close()
    for name in ("payment_events", "ledger_entries", "buyer_orders", "pipeline_progress"):
        assert count(clickhouse_url, name) == (3 if name == "ledger_entries" else 1)


def test_progress_is_not_visible_before_the_events(clickhouse_url: str) -> None:
    client = connect(ClickHouseSettings.load(clickhouse_url))
    client.command("RENAME TABLE payment_events_raw TO hidden")
    client.close()
    with sink_at(clickhouse_url) as sink, pytest.raises(SchemaVersionError):
        sink.write(BATCH.columns)
    assert count(clickhouse_url, "pipeline_progress_raw") == 0
    assert count(clickhouse_url, "ledger_entries_raw") == 3


def test_a_value_that_does_not_fit_is_refused_by_name(clickhouse_url: str) -> None:
    row = next(zip(*BATCH.columns[PAYMENT_EVENTS], strict=True))
    wrong = list(row)
    wrong[PAYMENT_EVENTS.columns.index("amount_minor")] = 2**63
    with (
        sink_at(clickhouse_url) as sink,
        pytest.raises(WriteRefused, match=r"payment_events\.amount_minor: cannot be sent as int64"),
    ):
        sink.write({PAYMENT_EVENTS: columns_of([tuple(wrong)])})


def test_a_column_that_the_server_does_not_know_is_a_schema_of_another_version(
    clickhouse_url: str,
) -> None:
    client = connect(ClickHouseSettings.load(clickhouse_url))
    client.command("ALTER TABLE ledger_entries_raw RENAME COLUMN event_type TO kind")
    client.close()
    with sink_at(clickhouse_url) as sink, pytest.raises(SchemaVersionError, match="migrate"):
        sink.write({LEDGER_ENTRIES: BATCH.columns[LEDGER_ENTRIES]})


def test_a_wrong_password_is_told_without_the_password(clickhouse_server_url: str) -> None:
    parts = urlsplit(clickhouse_server_url)
    wrong = f"{parts.scheme}://purser:wrong-secret@{parts.hostname}:{parts.port}/purser"
    with pytest.raises(ConfigurationError, match="PURSER_CLICKHOUSE_URL") as caught:
        ClickHouseSink(ClickHouseSettings.load(wrong))
    assert not isinstance(caught.value, SchemaVersionError)
    assert "wrong-secret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_missing_database_is_a_missing_schema(clickhouse_server_url: str) -> None:
    settings = ClickHouseSettings.load(f"{clickhouse_server_url}/no_such_database")
    with pytest.raises(SchemaVersionError, match="purser migrate"):
        ClickHouseSink(settings)


def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        settings = ClickHouseSettings.load(f"http://u:p@127.0.0.1:{taken.getsockname()[1]}/purser")
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1"):
            ClickHouseSink(settings)


@contextmanager
def server_that_says(answer: bytes) -> Iterator[str]:
    """Something that takes connections, answers this to whatever it is asked, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            taken: list[socket.socket] = []
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                taken.append(connection)
                if answer:
                    connection.recv(65_536)
                    connection.sendall(answer)
                    connection.close()
            for connection in taken:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://u:p@127.0.0.1:{listener.getsockname()[1]}/purser"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    ],
    ids=["silence", "another protocol", "a proxy's error", "half an answer"],
)
def test_a_server_that_answers_nonsense_is_unavailable(answer: bytes) -> None:
    with server_that_says(answer) as url:
        settings = ClickHouseSettings.load(url).model_copy(
            update={"clickhouse_connect_seconds": 1, "clickhouse_request_seconds": 1}
        )
        with pytest.raises(ServiceUnavailable):
            ClickHouseSink(settings)


def test_a_server_that_dies_and_returns_is_unavailable_in_between(tmp_path: Path) -> None:
    with own_server(tmp_path / "data") as server, database(server.url) as url:
        migrate(url)
        with sink_at(url) as sink:
            sink.write(BATCH.columns)
            server.kill()
            for _ in range(2):
                with pytest.raises(ServiceUnavailable, match="then retry"):
                    sink.write(BATCH.columns)
            with pytest.raises(ServiceUnavailable):
                sink.note_minutes(BATCH.minutes)
            server.start()
            sink.write(BATCH.columns)
            sink.note_minutes(BATCH.minutes)
        assert count(url, PIPELINE_PROGRESS.name) == 1
        assert count(url, "seller_revenue WHERE gross_minor = 100") == 1

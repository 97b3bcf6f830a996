"""The native stack's servers, really running: who may log in, what restarts, how much it takes."""

import os
import re
import shlex

import clickhouse_connect
import psutil
import psycopg
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from cli.env import env
from cli.status import Report, Verdict, report, show
from operations.bring_up import bring_up
from schemas.clickhouse.catalogue import VIEWS
from stack.endpoints import Endpoints
from stack.native import Stack
from stack.process import living
from stack.settings import StackSettings
from stack.status import ProcessState, ProcessStatus
from stack.topology import SERVER_NAMES, workers_of
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

WORKER_NAMES = tuple(worker.name for worker in workers_of(1))

MEMORY_BYTES_MOST = 3 * 1024**3


def test_every_role_logs_in_with_its_own_password_only(endpoints: Endpoints) -> None:
    for dsn, role in (
        (endpoints.postgres_dsn, "purser_writer"),
        (endpoints.postgres_admin_dsn, "purser_owner"),
        (endpoints.postgres_reader_dsn, "purser_reader"),
        (endpoints.postgres_cdc_dsn, "purser_cdc"),
    ):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn.replace(f"{role}:", f"{role}:x"))


def test_only_the_cdc_role_replicates_and_none_is_a_superuser(endpoints: Endpoints) -> None:
    with psycopg.connect(endpoints.postgres_reader_dsn) as connection:
        found = connection.execute(
            "SELECT rolname, rolreplication, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles"
            " WHERE rolname LIKE 'purser%' ORDER BY rolname"
        ).fetchall()
    assert found == [
        ("purser_cdc", True, False, False, False),
        ("purser_owner", False, False, False, False),
        ("purser_reader", False, False, False, False),
        ("purser_writer", False, False, False, False),
    ]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("wal_level", "logical"),
        ("listen_addresses", "127.0.0.1"),
        ("max_slot_wal_keep_size", "4GB"),
        ("data_checksums", "on"),
        ("password_encryption", "scram-sha-256"),
    ],
)
def test_postgres_keeps_what_it_acknowledged(
    endpoints: Endpoints, setting: str, value: str
) -> None:
    with psycopg.connect(endpoints.postgres_reader_dsn) as connection:
        assert connection.execute(f"SHOW {setting}").fetchone() == (value,)


def test_servers_listen_on_this_machine_only(stack: Stack) -> None:
    addresses = {
        connection.laddr.ip
        for record in living(stack.home).values()
        if (process := record.process()) is not None
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_every_server_leads_a_session_of_its_own(stack: Stack) -> None:
    """Linux shares the processor between sessions: in one, all but PostgreSQL would starve."""
    processes = {name: stack.pid(name) for name in SERVER_NAMES}
    assert None not in processes.values()
    assert {name: os.getsid(pid or 0) for name, pid in processes.items()} == processes


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_killed_server_comes_back_by_itself(stack: Stack, name: str) -> None:
    killed = stack.kill(name)
    stack.wait_ready(name)
    assert stack.pid(name) not in (None, killed)


def test_whole_stack_is_healthy_and_takes_less_than_3_gb(stack: Stack) -> None:
    def servers_of(stack: Stack) -> list[ProcessStatus]:
        return [each for each in stack.status() if each.name not in WORKER_NAMES]

    wait_until(
        lambda: all(each.state is ProcessState.RUNNING for each in servers_of(stack)),
        "all servers run",
        seen=lambda: servers_of(stack),
    )
    servers = servers_of(stack)
    assert [each.problem for each in servers] == [None] * len(servers)
    assert all(each.memory_bytes for each in servers)
    assert sum(each.memory_bytes or 0 for each in servers) < MEMORY_BYTES_MOST


def test_second_up_leaves_everything_alone(stack: Stack) -> None:
    before = {name: stack.pid(name) for name in SERVER_NAMES}
    stack.up()
    assert {name: stack.pid(name) for name in SERVER_NAMES} == before
    assert None not in before.values()


def wait_until_healthy(stack: Stack) -> Report:
    """The first healthy report; the last one's problems when it takes too long."""

    def healthy() -> Report | None:
        found = report(stack)
        return found if found.verdict is Verdict.HEALTHY else None

    found = wait_until(healthy, "a healthy stack", seen=lambda: report(stack).problems)
    assert found is not None
    return found


def test_whole_up_is_healthy_repeatable_and_restarts_its_worker(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        bring_up(stack, print)
        found = wait_until_healthy(stack)
        assert set(found.workers) == set(WORKER_NAMES)
        capsys.readouterr()
        show(found)
        printed = capsys.readouterr().out
        assert re.search(r"^views-worker: \d+ records behind$", printed, re.MULTILINE), printed
        keeper = (
            r"^connector-supervisor: Connect found down \d+ times, connector restarted \d+ times,"
        )
        assert re.search(keeper, printed, re.MULTILINE), printed
        assert printed.endswith("\nhealthy\n")
        pids = {name: stack.pid(name) for name in WORKER_NAMES}
        bring_up(stack, print)
        assert {name: stack.pid(name) for name in WORKER_NAMES} == pids
        stack.kill("views-worker")
        stack.wait_ready("views-worker")
        assert stack.pid("views-worker") not in (None, pids["views-worker"])
        stack.stop("views-worker")
        assert "views-worker is stopped" in report(stack).problems
    finally:
        for name in WORKER_NAMES:
            stack.stop(name)


def test_views_workers_are_added_and_taken_away(stack: Stack) -> None:
    def with_workers(count: int) -> Stack:
        return Stack(stack.settings.model_copy(update={"views_workers": count}))

    def shares(found: Report) -> list[int]:
        names = ("views-worker", "views-worker-2")
        return [len(found.workers.get(name, {}).get("partitions", {})) for name in names]

    two = with_workers(2)
    try:
        bring_up(two, print)
        wait_until(lambda: all(shares(wait_until_healthy(two))), "each worker has partitions")
        found = report(two)
        lags = [each["lag_records"] for name, each in found.workers.items() if "views" in name]
        assert found.as_json()["views_lag_records"] == sum(lags)
        kept = StackSettings(home=stack.settings.home)
        assert Stack(kept).settings.views_workers == 2, "later commands know without being told"
        one = with_workers(1)
        bring_up(one, print)
        assert one.pid("views-worker-2") is None
        assert set(wait_until_healthy(one).workers) == set(WORKER_NAMES)
    finally:
        for name in ("views-worker-2", *WORKER_NAMES):
            stack.stop(name)


def test_env_prints_where_analysts_read_the_views_and_nothing_else(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PURSER_HOME", str(stack.settings.home))
    monkeypatch.setenv("PURSER_PORT_BASE", str(stack.settings.port_base))
    env()
    printed = dict(
        shlex.split(line)[1].split("=", 1) for line in capsys.readouterr().out.splitlines()
    )
    url = printed["PURSER_CLICKHOUSE_READER_URL"]
    assert url.startswith("http://purser_reader:")
    with clickhouse_connect.get_client(dsn=url) as reader:
        names = {row[0] for row in reader.query("SHOW TABLES").result_rows}
        assert names == set(VIEWS)
        for name in names:
            reader.query(f"SELECT * FROM {name} LIMIT 1")
        for statement in (
            "SELECT count() FROM payment_events_raw",
            "SELECT count() FROM schema_migrations",
            "SELECT file('/etc/hostname')",
            "INSERT INTO payouts_raw (seller_id) VALUES ('x')",
            "DROP VIEW payouts",
        ):
            with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
                reader.command(statement)
    assert printed["PURSER_CLICKHOUSE_URL"].split("@")[1] == url.split("@")[1]

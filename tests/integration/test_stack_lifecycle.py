"""Up, down and every accident in between, on stacks of their own that run PostgreSQL only."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.status import Verdict, report, show
from connectors.debezium.slot import read_slot
from schemas.errors import ConfigurationError, ServiceUnavailable
from stack import postgres, supervisord
from stack.native import Stack
from stack.process import living
from stack.settings import StackSettings
from stack.status import ProcessState
from tests.waiting import wait_until
from tests.whole_stack import reachable_folder, stack_in
from writer.migrate import migrate

pytestmark = pytest.mark.integration

POSTGRES = ("postgres",)


@pytest.fixture
def home() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder / "home"


@pytest.fixture
def own(home: Path) -> Iterator[Stack]:
    with stack_in(home) as made:
        yield made


def write_row(stack: Stack) -> None:
    with psycopg.connect(stack.endpoints.postgres_admin_dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(stack: Stack) -> int:
    with psycopg.connect(stack.endpoints.postgres_admin_dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def family(stack: Stack) -> set[psutil.Process]:
    """Every process of a stack and all of their children."""
    processes = {record.process() for record in living(stack.home).values()} - {None}
    return {each for process in processes if process for each in process.children(True)} | {
        process for process in processes if process
    }


def alive(processes: set[psutil.Process]) -> list[psutil.Process]:
    return [
        each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
    ]


def kill_supervisor(stack: Stack) -> None:
    pid = stack.pid(supervisord.NAME)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.pid(supervisord.NAME) is None, "supervisord is gone")


def test_up_twice_changes_nothing_and_data_survive_down(own: Stack) -> None:
    own.up(POSTGRES)
    write_row(own)
    first = own.pid("postgres")
    own.up(POSTGRES)
    assert own.pid("postgres") == first
    processes = family(own)
    assert len(processes) > 2
    assert own.down() is True
    assert alive(processes) == []
    assert own.down() is False
    own.up(POSTGRES)
    assert rows(own) == 1


def test_two_ups_at_once_start_everything_once(own: Stack) -> None:
    commands = [
        "from stack.native import Stack; from stack.settings import StackSettings;"
        "Stack(StackSettings()).up(('postgres',))"
    ] * 2
    environment = {
        "PATH": os.environ["PATH"],
        "PURSER_HOME": str(own.home.path),
        "PURSER_PORT_BASE": str(own.settings.port_base),
    }
    running = [
        subprocess.Popen([sys.executable, "-c", command], env=environment) for command in commands
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert {each.name: each.restarts for each in own.status()}["postgres"] == 0
    write_row(own)


def test_down_after_supervisord_was_killed_leaves_nothing(own: Stack) -> None:
    own.up(POSTGRES)
    processes = family(own)
    kill_supervisor(own)
    states = {each.name: each.state for each in own.status()}
    assert states["postgres"] is ProcessState.ORPHANED
    assert own.down() is True
    assert alive(processes) == []


def test_up_repairs_after_supervisord_was_killed(own: Stack) -> None:
    own.up(POSTGRES)
    write_row(own)
    orphan = own.pid("postgres")
    kill_supervisor(own)
    own.up(POSTGRES)
    assert own.pid("postgres") not in (None, orphan)
    assert rows(own) == 1
    assert {each.name: each.state for each in own.status()}["postgres"] is ProcessState.RUNNING


def test_supervisord_that_hangs_is_replaced(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    own.up(POSTGRES)
    monkeypatch.setattr(supervisord, "ANSWER_SECONDS", 3.0)
    hanging = own.pid(supervisord.NAME)
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    # What hangs does not hear SIGTERM either: it is given its time, then killed.
    impatient = Stack(own.settings.model_copy(update={"stack_stop_timeout_seconds": 1.0}))
    impatient.up(POSTGRES)
    assert own.pid(supervisord.NAME) not in (None, hanging)
    assert not psutil.pid_exists(hanging) or psutil.Process(hanging).status() == "zombie"


def test_killed_postgres_restarts_with_committed_rows_and_is_counted(own: Stack) -> None:
    own.up(POSTGRES)
    write_row(own)
    own.kill("postgres")
    own.wait_ready("postgres")
    assert rows(own) == 1
    assert {each.name: each.restarts for each in own.status()}["postgres"] >= 1


def test_pid_file_naming_a_stranger_does_not_keep_postgres_down(own: Stack) -> None:
    own.up(POSTGRES)
    write_row(own)
    own.down()
    data = own.home.path / "postgres" / "data"
    owner = data.stat()
    pid_file = data / "postmaster.pid"
    # As after a reboot: the id in the file is now that of another process of the same user.
    with subprocess.Popen(
        ["/bin/sleep", "60"], user=owner.st_uid, group=owner.st_gid, cwd="/"
    ) as stranger:
        pid_file.write_text(f"{stranger.pid}\n{data}\n0\n1\n\n127.0.0.1\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        own.up(POSTGRES)
        stranger.kill()
    assert rows(own) == 1


def test_two_stacks_run_at_once(home: Path) -> None:
    with stack_in(home / "a") as first, stack_in(home / "b") as second:
        first.up(POSTGRES)
        second.up(POSTGRES)
        write_row(first)
        write_row(second)
        first.down()
        assert rows(second) == 1
        with pytest.raises(psycopg.OperationalError):
            rows(first)


@pytest.mark.parametrize(
    "name", ["deep/" + "d" * 60 + "/" + "e" * 60, "my #1; shop, 50 %d & 'more' \"ü\""]
)
def test_any_folder_will_do(home: Path, name: str) -> None:
    with stack_in(home / name) as made:
        made.up((*POSTGRES, "clickhouse"))
        write_row(made)
        assert rows(made) == 1


def test_home_and_binaries_out_of_postgres_reach_work_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(mode=0o700)  # as /root is: an unprivileged PostgreSQL could not enter
    outside = home.parent / "outside"
    monkeypatch.setattr(postgres, "_can_run", lambda *_: False)
    with stack_in(home / "inside", postgres_root_folder=outside) as made:
        made.up(POSTGRES)
        write_row(made)
        binary = Path(psutil.Process(made.pid("postgres")).exe())
        made.down()
        made.up(POSTGRES)
        assert rows(made) == 1
        # An ordinary user's PostgreSQL is that user's, and stays where it is.
        assert binary.is_relative_to(outside) is (os.geteuid() == 0)
    assert not list(outside.glob("*/data"))


def test_no_secret_is_seen_on_command_lines_or_in_logs(own: Stack) -> None:
    own.up((*POSTGRES, "clickhouse"))
    secrets = [
        value
        for name, value in json.loads(own.home.secrets_file.read_text()).items()
        if name != "home_id"
    ]
    seen = " ".join(part for process in family(own) for part in process.cmdline())
    seen += "".join(path.read_text(errors="replace") for path in own.home.logs.iterdir())
    assert "postgres" in seen
    assert not [secret for secret in secrets if secret in seen]
    assert all(path.stat().st_mode & 0o077 == 0 for path in own.home.run.glob("*.launch.json"))


def test_running_stack_refuses_other_ports(own: Stack) -> None:
    own.up(POSTGRES)
    other = Stack(StackSettings(home=own.home.path, port_base=own.settings.port_base + 16))
    for use in (lambda: other.up(POSTGRES), lambda: other.endpoints):
        with pytest.raises(ConfigurationError, match=r"PURSER_PORT_BASE: .* runs on ports from"):
            use()
    own.down()


def test_ports_are_remembered(own: Stack) -> None:
    own.up(POSTGRES)
    assert Stack(StackSettings(home=own.home.path)).endpoints == own.endpoints


def test_server_that_cannot_start_is_an_error_with_the_end_of_its_log(own: Stack) -> None:
    own.up(POSTGRES)
    own.down()
    data = own.home.path / "postgres" / "data"
    (data / "PG_VERSION").write_text("11\n")
    with pytest.raises(ServiceUnavailable, match=r"postgres keeps dying; the end of .*11"):
        own.up(POSTGRES)


def test_lost_replication_slot_is_loud(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stack_in(home, postgres_slot_wal_megabytes=16) as made:
        made.up(POSTGRES)
        migrate(made.endpoints.postgres_admin_dsn)
        with (
            psycopg.connect(made.endpoints.postgres_superuser_dsn, autocommit=True) as connection,
            psycopg.connect(made.endpoints.postgres_cdc_dsn, autocommit=True) as cdc,
        ):
            cdc.execute("SELECT pg_create_logical_replication_slot('purser', 'pgoutput')")
            assert read_slot(made.endpoints.postgres_reader_dsn, "purser").wal_status == "reserved"
            for _ in range(4):
                connection.execute("SELECT pg_logical_emit_message(false, 'x', 'y')")
                connection.execute("SELECT pg_switch_wal()")
            beyond = read_slot(made.endpoints.postgres_reader_dsn, "purser")
            assert (beyond.wal_status, beyond.safe_bytes) == ("unreserved", 0)
            connection.execute("CHECKPOINT")
        found = report(made)
        assert found.verdict is Verdict.UNHEALTHY
        assert any("REPLICATION SLOT purser IS LOST" in problem for problem in found.problems)
        capsys.readouterr()
        show(found)
        printed = capsys.readouterr().out
        assert "  see docs/reference/status.md#slot-lost\n" in printed
        assert not re.search(r"[\s(]-\d", printed), "a negative number"


def purser(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command on a stack."""
    environment = {
        "PATH": os.environ["PATH"],
        "PURSER_HOME": str(stack.home.path),
        "PURSER_PORT_BASE": str(stack.settings.port_base),
    }
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_and_env_can_be_used_by_scripts(own: Stack) -> None:
    never = purser(own, "status")
    assert (never.returncode, never.stdout) == (2, "")
    assert never.stderr.startswith("purser: ")
    own.up(POSTGRES)
    half = purser(own, "status", "--json")
    assert half.returncode == 1
    body = json.loads(half.stdout)
    assert body["status"] == "unhealthy"
    assert "views-worker is stopped" in body["problems"]
    (row,) = (each for each in body["processes"] if each["name"] == "postgres")
    assert row["state"] == "running"
    assert row["pid"] == own.pid("postgres")
    assert row["memory_bytes"] > 1_000_000
    lines = purser(own, "env").stdout.splitlines()
    assert f"export PURSER_POSTGRES_DSN={own.endpoints.postgres_dsn}" in lines
    own.down()
    down = purser(own, "status", "--json")
    assert (down.returncode, json.loads(down.stdout)["status"]) == (2, "down")

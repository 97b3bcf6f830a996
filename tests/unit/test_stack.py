"""The local stack without its servers: settings, secrets, prerequisites, records of processes."""

import configparser
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from connectors.stripe.settings import StripeSettings
from schemas.errors import ConfigurationError, ServiceUnavailable
from stack import artifacts, disk, java, kafka, ports, supervisord
from stack.credentials import Credentials
from stack.endpoints import Endpoints
from stack.launch import remove_reused_pid_file, start_mark
from stack.layout import Home
from stack.native import Stack
from stack.process import Specification, is_gone, living, read_record, stop_all
from stack.programs import worker_specification
from stack.settings import StackSettings
from stack.topology import (
    PORTS_RESERVED,
    PROGRAMS,
    SERVER_NAMES,
    WORKERS,
    Port,
    Program,
    programs_of,
    workers_of,
)
from tests.waiting import wait_until


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def fake_command(folder: Path, name: str, script: str) -> None:
    """Put a shell script where a command is looked for."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


# ---- settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT_BASE", "0"),
        ("PORT_BASE", "80"),
        ("PORT_BASE", "65530"),
        ("PORT_BASE", "ten"),
        ("JAVA_HEAP_MEGABYTES", "-1"),
        ("POSTGRES_SLOT_WAL_MEGABYTES", "0"),
        ("STACK_START_TIMEOUT_SECONDS", "0"),
        ("STACK_START_TIMEOUT_SECONDS", "nan"),
        ("HOME", "a\nb"),
        ("VIEWS_WORKERS", "0"),
        ("VIEWS_WORKERS", "5"),
    ],
)
def test_bad_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"PURSER_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"PURSER_{variable}: .*correct it or unset it"):
        StackSettings.load()


def test_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PURSER_HOME", "here")
    assert StackSettings.load().home == tmp_path / "here"


def test_a_home_without_a_name_is_not_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_HOME", "")
    with pytest.raises(ConfigurationError, match="PURSER_HOME: names no folder"):
        StackSettings.load()


def test_a_file_without_any_password_is_damaged(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.secrets_file.write_text("{}")
    with pytest.raises(ConfigurationError, match=r"secrets\.json: home_id is damaged"):
        Credentials.read(home)


def test_ports_differ_and_stay_within_the_reserved_range() -> None:
    settings = StackSettings(port_base=20_000)
    numbers = [settings.port(port) for port in Port]
    assert len(set(numbers)) == len(numbers)
    assert all(20_000 <= number < 20_000 + PORTS_RESERVED for number in numbers)
    assert {port for program in PROGRAMS for port in program.ports} == set(Port)


def test_topology_starts_every_program_after_what_it_needs() -> None:
    names = [program.name for program in PROGRAMS]
    assert len(set(names)) == len(names)
    for place, program in enumerate(PROGRAMS):
        assert set(program.after) <= set(names[:place]), f"{program.name} comes before its needs"
    ports = [port for program in PROGRAMS for port in program.ports]
    assert len(set(ports)) == len(ports), "two programs share a port"


def test_every_worker_of_the_topology_is_a_module_that_can_be_run() -> None:
    for worker in WORKERS:
        assert worker.module is not None
        assert find_spec(worker.module) is not None, worker.module
        assert worker.ports, f"{worker.name} has no port for /health"


# ---- home and secrets


def test_home_that_cannot_be_made_is_an_error_naming_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"PURSER_HOME: cannot write in .*set PURSER_HOME"):
        Home(tmp_path / "file" / "home").create()


def test_home_of_another_user_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: home.path.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match=r"PURSER_HOME: .* belongs to user id"):
        home.create()


def test_too_little_disk_is_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "FREE_BYTES_MINIMUM", 1 << 60)
    with pytest.raises(ConfigurationError, match=r"PURSER_HOME: .* GB free and .*free some space"):
        Stack(StackSettings(home=home.path)).up()
    assert not living(home)


def test_secrets_are_generated_once_and_only_for_our_eyes(home: Home) -> None:
    first = Credentials.read_or_create(home)
    assert Credentials.read_or_create(home) == first
    assert stat.S_IMODE(home.secrets_file.stat().st_mode) == 0o600
    passwords = [
        value for name, value in json.loads(first.model_dump_json()).items() if name != "home_id"
    ]
    assert len(set(passwords)) == len(passwords) == 12
    assert all(len(password) >= 32 for password in passwords)
    told = repr(first) + repr(Endpoints.of(StackSettings(home=home.path), first))
    assert not any(password in told for password in passwords)


def test_a_password_that_a_home_lacks_is_generated_and_kept(home: Home) -> None:
    first = Credentials.read_or_create(home)
    older = json.loads(home.secrets_file.read_text())
    del older["clickhouse_reader"]
    home.secrets_file.write_text(json.dumps(older))
    second = Credentials.read_or_create(home)
    assert second != first
    assert second.purser_writer == first.purser_writer
    assert Credentials.read(home) == second


def test_secrets_of_two_homes_differ(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("a", "b")]
    for each in homes:
        each.create()
    first, second = (Credentials.read_or_create(each) for each in homes)
    assert first.home_id != second.home_id
    assert first.purser_writer != second.purser_writer


def test_no_secrets_means_never_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no stack yet; run `purser up`"):
        _ = Stack(StackSettings(home=tmp_path)).endpoints


def test_damaged_secrets_are_named_but_not_shown(home: Home) -> None:
    home.secrets_file.write_text('{"clickhouse": "hunter2", "home_id": "zz"}')
    with pytest.raises(ConfigurationError, match="home_id is damaged") as caught:
        Credentials.read(home)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


# ---- prerequisites


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25" 2025-09-16', 25),
    ],
)
def test_java_version_is_read(text: str, major: int) -> None:
    assert java.parse_java_major(text, Path("java")) == major


def test_missing_jdk_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no JDK was found; install a JDK 17"):
        java.find_java()


def test_old_jdk_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_command(tmp_path / "bin", "java", "echo 'java version \"11.0.2\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"is Java 11; install a JDK 17"):
        java.find_java()


def test_wrong_java_home_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"JAVA_HOME: .* does not exist"):
        java.find_java()


def test_missing_maven_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no Maven was found; install Maven"):
        artifacts.ensure_artifacts(tmp_path / "cache", print)


MAVEN = """
for argument in "$@"; do case "$argument" in -Dfolder=*) folder="${argument#-Dfolder=}";; esac; done
echo run >> "$MAVEN_RUNS"
mkdir -p "$folder/lib" "$folder/plugins/debezium"
touch "$folder/lib/kafka.jar"
"""


@pytest.fixture
def maven_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A Maven that leaves one jar, on the path; the file counts its runs by lines."""
    fake_command(tmp_path / "bin", "mvn", MAVEN)
    runs = tmp_path / "runs"
    runs.write_text("")
    monkeypatch.setenv("MAVEN_RUNS", str(runs))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(artifacts, "FETCH_PAUSE_SECONDS", 0.0)
    yield runs


def test_two_fetches_at_once_fetch_once(maven_runs: Path, tmp_path: Path) -> None:
    found: list[artifacts.Artifacts] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(artifacts.ensure_artifacts(tmp_path / "cache", print))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert (found[0].lib / "kafka.jar").exists()
    assert maven_runs.read_text().splitlines() == ["run"]


def test_interrupted_fetch_leaves_nothing_behind(maven_runs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / f"{artifacts.PARTIAL_PREFIX}x" / "lib").mkdir(parents=True)
    artifacts.ensure_artifacts(cache, print)
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        [artifacts.artifacts_folder(cache).name, "lock"]
    )


def test_failing_maven_is_tried_again_then_told(
    monkeypatch: pytest.MonkeyPatch, maven_runs: Path, tmp_path: Path
) -> None:
    fake_command(
        tmp_path / "bin", "mvn", 'echo run >> "$MAVEN_RUNS"; echo "[ERROR] no network"; exit 1'
    )
    with pytest.raises(ServiceUnavailable, match=r"Maven could not fetch .*no network"):
        artifacts.ensure_artifacts(tmp_path / "cache", print)
    assert len(maven_runs.read_text().splitlines()) == artifacts.FETCH_ATTEMPTS
    assert not artifacts.artifacts_folder(tmp_path / "cache").exists()


@pytest.mark.parametrize(("cores", "quick_only"), [(1, True), (2, True), (4, False), (64, False)])
def test_thorough_compiler_is_for_machines_with_cores_to_spare(
    home: Home, monkeypatch: pytest.MonkeyPatch, cores: int, quick_only: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    made = artifacts.Artifacts(lib=home.path, plugins=home.path)
    command = kafka.java_command(StackSettings(home=home.path), home.path, Path("java"), made)
    assert (kafka.QUICK_COMPILER_ONLY in command) is quick_only


# ---- ports


def test_taken_port_is_named_before_anything_starts(home: Home) -> None:
    with ports.lend_port_base() as base, closing(socket.socket()) as taken:
        settings = StackSettings(home=home.path, port_base=base)
        number = settings.port(Port.CONNECT)
        taken.bind(("127.0.0.1", number))
        taken.listen()
        with pytest.raises(
            ConfigurationError, match=rf"port {number} \(for connect\) is taken.*PURSER_PORT_BASE"
        ):
            Stack(settings).up()
        assert not living(home)


def test_lent_ports_are_lent_once() -> None:
    with ports.lend_port_base() as first, ports.lend_port_base() as second:
        assert abs(first - second) >= PORTS_RESERVED


# ---- supervisord


def test_supervisor_configuration_names_every_program_and_no_secret(home: Home) -> None:
    credentials = Credentials.read_or_create(home)
    text = supervisord.configuration(PROGRAMS)
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    for program in PROGRAMS:
        section = parser[f"program:{program.name}"]
        assert section["autorestart"] == "true"
        assert section["stopsignal"] == program.stop_signal
    assert str(home.path) not in text
    assert credentials.clickhouse.get_secret_value() not in text


def test_worker_gets_what_purser_env_prints_and_its_port(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PURSER_LINGER_SECONDS", "0.3")
    monkeypatch.setenv("PURSER_POSTGRES_DSN", "postgresql://elsewhere")
    settings = StackSettings(home=home.path)
    endpoints = Endpoints.of(settings, Credentials.read_or_create(home))
    environment = worker_specification(WORKERS[0], settings, endpoints).environment
    assert endpoints.environment().items() <= environment.items()
    assert environment["PURSER_LINGER_SECONDS"] == "0.3"
    assert environment["PURSER_WORKER_METRICS_PORT"] == str(settings.port(Port.WORKER_METRICS))


def test_up_says_which_settings_do_not_reach_what_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    running: set[str] = set()
    monkeypatch.setattr(Stack, "_running", lambda _: running)
    monkeypatch.setattr(Stack, "_start_together", lambda _, names: running.update(names))
    monkeypatch.setattr("stack.ports.check_free", lambda *_: None)
    Credentials.read_or_create(home)

    def up() -> list[str]:
        said.clear()
        Stack(StackSettings(home=home.path), said.append).start_workers()
        return list(said)

    assert up() == []
    assert up() == []
    monkeypatch.setenv("PURSER_VIEWS_WORKERS", "1")  # is the stack's own, and counts at once
    monkeypatch.setenv("PURSER_LINGER_SECONDS", "0.3")
    [line] = up()
    assert line == (
        "what runs already keeps its settings; run `purser down` and `purser up` for what has"
        " changed: PURSER_LINGER_SECONDS"
    )


def test_each_views_worker_has_a_name_a_port_and_a_place_in_the_group_of_its_own(
    home: Home,
) -> None:
    settings = StackSettings(home=home.path, views_workers=3)
    endpoints = Endpoints.of(settings, Credentials.read_or_create(home))
    running = [each for each in workers_of(3) if each.module == "streams.views.worker"]
    names = [each.name for each in running]
    assert names == ["views-worker", "views-worker-2", "views-worker-3"]
    environments = [worker_specification(each, settings, endpoints).environment for each in running]
    assert [each["PURSER_WORKER_INSTANCE"] for each in environments] == names
    assert len({each["PURSER_WORKER_METRICS_PORT"] for each in environments}) == 3
    assert {program.name for program in programs_of(3)} - set(SERVER_NAMES) == {
        *names,
        "connector-supervisor",
        "simulator",
        "api",
        "payins-worker",
    }


def test_number_of_views_workers_is_remembered_until_another_is_asked_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PURSER_PORT_BASE", "PURSER_VIEWS_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    home.ports_file.write_text(json.dumps({"port_base": 21_000, "views_workers": 2}))
    remembered = Stack(StackSettings(home=home.path)).settings
    assert (remembered.port_base, remembered.views_workers) == (21_000, 2)
    assert Stack(StackSettings(home=home.path, views_workers=3)).settings.views_workers == 3


def test_home_of_an_older_version_has_one_views_worker(home: Home) -> None:
    home.ports_file.write_text(json.dumps({"port_base": 21_000}))
    assert Stack(StackSettings(home=home.path)).settings.views_workers == 1


# ---- processes and their records


def launch(
    home: Home, name: str = "sleeper", *command: str, nice: int = 0
) -> subprocess.Popen[bytes]:
    """Run a program through the launcher, as supervisord does."""
    specification = Specification(
        program=Program(name=name, nice=nice),
        command=command or ("/bin/sleep", "60"),
        directory=home.path,
        environment={"SECRET": "x"},
    )
    path = specification.write(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return subprocess.Popen([sys.executable, "-I", supervisord.LAUNCHER, path])


def wait_for_record(home: Home, process: subprocess.Popen[bytes]) -> None:
    def is_recorded() -> bool:
        assert process.poll() is None
        return psutil.Process(process.pid).name() == "sleep"

    wait_until(is_recorded, "the program runs", poll_seconds=0.01)


def test_launched_process_is_found_and_stopped_by_its_record(home: Home) -> None:
    with launch(home) as process:
        wait_for_record(home, process)
        found = living(home)
        assert {name: record.pid for name, record in found.items()} == {"sleeper": process.pid}
        assert found["sleeper"].starts == 1
        stop_all(found.values(), patience_seconds=5)
        assert process.wait() == -signal.SIGTERM
        assert living(home) == {}


def test_a_program_that_nobody_waits_for_leaves_the_processor_to_others(home: Home) -> None:
    with launch(home, nice=7) as process:
        wait_for_record(home, process)
        assert psutil.Process(process.pid).nice() == 7
        with suppress(FileNotFoundError):  # where sessions do not matter
            assert Path(f"/proc/{process.pid}/autogroup").read_text().endswith("nice 7\n")
        stop_all(living(home).values(), patience_seconds=5)


def test_process_that_ignores_the_request_is_killed_with_its_children(home: Home) -> None:
    script = "trap '' TERM; sleep 60 & echo $! > child; while :; do sleep 60; done"
    with launch(home, "stubborn", "/bin/sh", "-c", script) as process:
        child = home.path / "child"
        wait_until(lambda: child.exists() and child.read_text().strip(), "a child")
        child_process = psutil.Process(int(child.read_text()))
        stop_all(living(home).values(), patience_seconds=0.2)
        assert process.wait() == -signal.SIGKILL
        assert is_gone(child_process)


def test_starts_are_counted(home: Home) -> None:
    for _ in range(3):
        with launch(home, "short", "/bin/true") as process:
            assert process.wait() == 0
    record = read_record(home, "short")
    assert record is not None
    assert record.starts == 3
    assert record.process() is None


def test_record_of_a_process_id_taken_over_by_a_stranger_is_stale(home: Home) -> None:
    home.record("old").write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "start_mark": "another-boot:1",
                "stop_signal": "TERM",
                "generation": "",
                "starts": 1,
            }
        )
    )
    assert living(home) == {}
    assert start_mark(os.getpid()) == start_mark(os.getpid())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_damaged_record_is_no_record(home: Home, content: str) -> None:
    home.record("old").write_text(content)
    assert read_record(home, "old") is None


def test_pid_file_that_names_a_stranger_is_removed(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getppid()}\n{tmp_path}\n")
    remove_reused_pid_file(tmp_path)
    assert not pid_file.exists()


def test_pid_file_of_the_dead_stays_for_postgresql_to_judge(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{gone.pid}\n{tmp_path}\n")
    remove_reused_pid_file(tmp_path)
    assert pid_file.exists()


def test_down_and_status_of_a_home_that_never_was(tmp_path: Path) -> None:
    stack = Stack(StackSettings(home=tmp_path / "none"))
    assert stack.down() is False
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigurationError, match="holds no stack yet"):
        stack.status()


def test_what_env_printed_changes_nothing_when_it_comes_back(tmp_path: Path) -> None:
    """`eval "$(purser env)"` and then `purser up`: the API still has the keys of local tokens."""
    endpoints = Endpoints.of(StackSettings(home=tmp_path), Credentials())
    printed = endpoints.outside({})
    assert "PURSER_JWKS_FILE" in printed
    assert endpoints.outside(printed) == printed
    without_file = {name: value for name, value in printed.items() if "FILE" not in name}
    assert endpoints.outside(without_file) == printed


def test_another_issuer_has_no_file_of_ours(tmp_path: Path) -> None:
    endpoints = Endpoints.of(StackSettings(home=tmp_path), Credentials())
    other = {"PURSER_JWKS_URL": "https://issuer.example/jwks.json"}
    assert "PURSER_JWKS_FILE" not in endpoints.outside(other)


@pytest.mark.parametrize("printed_before", [False, True])
def test_a_key_of_the_real_stripe_goes_to_the_real_stripe(
    tmp_path: Path, printed_before: bool
) -> None:
    """Two settings are enough, also in a shell that has what `purser env` printed before."""
    endpoints = Endpoints.of(StackSettings(home=tmp_path), Credentials())
    given = endpoints.outside({}) if printed_before else {}
    given |= {
        "PURSER_STRIPE_API_KEY": "sk_live_secret",
        "PURSER_STRIPE_WEBHOOK_SECRET": "whsec_live",
    }
    settings = StripeSettings.model_fields["api_base"]
    assert endpoints.outside(given)["PURSER_STRIPE_API_BASE"] == settings.default
    assert endpoints.outside(given).items() >= {
        ("PURSER_STRIPE_API_KEY", "sk_live_secret"),
        ("PURSER_STRIPE_WEBHOOK_SECRET", "whsec_live"),
    }
    assert "PURSER_SIMULATOR_WEBHOOK_URL" not in endpoints.simulator(given)


def test_a_key_of_another_simulator_goes_where_it_is_told(tmp_path: Path) -> None:
    endpoints = Endpoints.of(StackSettings(home=tmp_path), Credentials())
    given = {
        "PURSER_STRIPE_API_BASE": "http://127.0.0.1:12111",
        "PURSER_STRIPE_API_KEY": "sk_test_other",
    }
    assert endpoints.outside(given).items() >= given.items()

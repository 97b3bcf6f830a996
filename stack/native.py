"""The local stack as one object: up, down, kill, wait, and the addresses.

The command line, the tests and the chaos rounds all use this class. It keeps no state: supervisord
and the records on disk say what runs, so any process can take over.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from schemas.errors import ConfigurationError, ServiceUnavailable
from stack import ports, postgres, supervisord
from stack.credentials import Credentials
from stack.disk import Disk, check_free_space, disks_of
from stack.endpoints import Endpoints
from stack.layout import Home, last_lines
from stack.process import POLL_SECONDS, living, read_record, stop_all
from stack.programs import (
    check_ready,
    prepare_servers,
    worker_health,
    worker_specification,
)
from stack.remembered import remember, remembered, stored
from stack.settings import StackSettings
from stack.status import ProcessStatus, process_statuses
from stack.supervisord import AT_REST, UP, State, Supervisor
from stack.tokens import make_token, write_keys
from stack.topology import (
    PROGRAMS,
    SERVER_NAMES,
    VIEWS_WORKER_NAMES,
    Port,
    program_named,
    workers_of,
)

DEATHS_MOST = 4  # a server that dies this often while starting will not come up


def _silent(_: str) -> None:
    """Say nothing."""


def _ports(names: Iterable[str]) -> Iterator[Port]:
    return (port for name in names for port in program_named(name).ports)


class Stack:
    """One local stack, identified by its home. `say` receives progress lines for people."""

    def __init__(self, settings: StackSettings, say: Callable[[str], None] = _silent) -> None:
        self.home = Home(settings.home)
        self.settings = remembered(self.home, settings)
        self._say = say
        self._supervisor = Supervisor(self.home)

    # ---- addresses and state

    @property
    def endpoints(self) -> Endpoints:
        """The servers' addresses; raises ConfigurationError if the stack was never up."""
        self._refuse_other_ports()
        return Endpoints.of(self.settings, Credentials.read(self.home))

    def token(
        self,
        scope: str,
        subject: str,
        *,
        minutes: int = 60,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """A token of this stack's issuer, as its API wants it; `given` as `Endpoints.outside`."""
        outside = self.endpoints.outside(given)
        return make_token(
            Credentials.read(self.home),
            issuer=outside["PURSER_JWT_ISSUER"],
            audience=outside["PURSER_JWT_AUDIENCE"],
            subject=subject,
            scope=scope,
            minutes=minutes,
        )

    def status(self) -> tuple[ProcessStatus, ...]:
        """The state of supervisord and each process; raises ConfigurationError if never up."""
        return process_statuses(self.settings, self.home, Credentials.read(self.home))

    def disks(self) -> tuple[Disk, ...]:
        """The disks that hold the stack's data, with the space that is left."""
        home_id = Credentials.read(self.home).home_id
        folder = postgres.folder_of(self.settings, self.home, home_id)
        return disks_of((self.home.path, folder), self.settings.disk_low_megabytes)

    def worker_reports(self) -> dict[str, dict[str, Any]]:
        """The report of each worker that answers, including `lag_records`."""
        reports = {}
        for worker in workers_of(self.settings.views_workers):
            with suppress(ServiceUnavailable):  # `status` reports it
                reports[worker.name] = worker_health(worker, self.settings)[1]
        return reports

    # ---- up

    def up(self, servers: Iterable[str] = SERVER_NAMES) -> None:
        """Start servers and wait until each answers; running ones are left alone.

        Raises ConfigurationError for a missing prerequisite (before anything is started) and
        ServiceUnavailable if a server does not come up.
        """
        wanted = tuple(servers)
        self.home.create()
        with self._locked():
            self._refuse_other_ports()
            check_free_space(self.home.path, "PURSER_HOME")
            credentials = Credentials.read_or_create(self.home)
            self._repair()
            running = self._running()
            missing = [name for name in wanted if name not in running]
            ports.check_free(self.settings, _ports(missing))
            remember(self.home, self.settings)
            try:
                prepare_servers(missing, self.settings, self.home, credentials, self._say)
            except OSError as error:
                raise ConfigurationError(
                    f"cannot write {error.filename} ({error.strerror}); make room or correct its"
                    " permissions, then run it again"
                ) from error
            if not self._supervisor.answers():
                supervisord.start(self.home, PROGRAMS)
                self._wait_for_supervisor()
            self._start_together(wanted)

    def start_workers(self, names: Iterable[str] | None = None) -> None:
        """Start workers, by default all; the servers must be up and migrated.

        Views workers above the configured number are stopped.
        """
        workers = workers_of(self.settings.views_workers)
        wanted = tuple(names if names is not None else (each.name for each in workers))
        with self._locked():
            remember(self.home, self.settings)
            running = self._running()
            surplus = running & set(VIEWS_WORKER_NAMES[self.settings.views_workers :])
            if surplus:
                self._say(f"stopping {', '.join(sorted(surplus))}")
                self._stop_and_wait(sorted(surplus))
            missing = [name for name in wanted if name not in running]
            ports.check_free(self.settings, _ports(missing))
            write_keys(self.home, Credentials.read(self.home))
            kept: set[str] = set()
            for worker in workers:
                specification = worker_specification(worker, self.settings, self.endpoints)
                if worker.name in missing:
                    specification.write(self.home)
                else:
                    kept |= specification.changed_variables(self.home)
            # The stack's own settings are known to `down` and `up`, not to its programs.
            kept -= {self.settings.variable(name) for name in type(self.settings).model_fields}
            if kept:
                self._say(
                    "what runs already keeps its settings; run `purser down` and `purser up` for"
                    f" what has changed: {', '.join(sorted(kept))}"
                )
            self._start_together(wanted)

    # ---- single processes, for tests and operators

    def start(self, name: str) -> None:
        """Start a process that was stopped; does not wait (see `wait_ready`)."""
        state = self._supervisor.processes()[name].state
        if state is State.BACKOFF:  # waiting for the next attempt; start it now instead
            self._stop_and_wait([name])
        self._supervisor.start_process(name)

    def stop(self, name: str) -> None:
        """Stop a process gently and keep it stopped."""
        self._stop_and_wait([name])

    def kill(self, name: str) -> int:
        """kill -9 a process, which will be restarted; return its process id.

        Raises ServiceUnavailable if it is not running.
        """
        record = read_record(self.home, name)
        process = record.process() if record else None
        if process is None:
            raise ServiceUnavailable(f"{name} is not running; `purser status` shows what is")
        process.kill()
        return process.pid

    def pid(self, name: str) -> int | None:
        """The id of a process, or None if it is not running."""
        record = read_record(self.home, name)
        process = record.process() if record else None
        return process.pid if process else None

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.home.log(name)

    def wait_ready(self, name: str, timeout_seconds: float | None = None) -> None:
        """Wait until a process answers.

        Raises ServiceUnavailable with the end of its log if it keeps dying or time is up.
        """
        timeout = timeout_seconds or self.settings.stack_start_timeout_seconds
        deadline = time.monotonic() + timeout
        first = self._starts(name)
        while True:
            state = self._supervisor.processes()[name].state
            if state in AT_REST:
                problem = f"is {state.value.lower()}"
                break
            if state in UP:
                try:
                    check_ready(name, self.settings, Credentials.read(self.home))
                except ServiceUnavailable as error:
                    problem = str(error)
                else:
                    return
            else:
                problem = f"is {state.value.lower()}"
            if self._starts(name) - first >= DEATHS_MOST:
                problem = "keeps dying"
                break
            if time.monotonic() > deadline:
                problem = f"did not become ready within {timeout:.0f} s ({problem})"
                break
            time.sleep(POLL_SECONDS * 2)
        log = self.home.log(name)
        raise ServiceUnavailable(f"{name} {problem}; the end of {log}: {last_lines(log)}")

    # ---- down

    def down(self) -> bool:
        """Stop everything, even without supervisord; return whether anything was running."""
        if not self.home.check_owner() or not self.home.run.is_dir():
            return False
        with self._locked():
            found = bool(living(self.home))
            if found and self._supervisor.answers():
                try:
                    self._stop_in_order()
                except ServiceUnavailable as error:
                    self._say(f"{error}; killing it")
            left = living(self.home)
            # supervisord first, because it would restart the others.
            for name in sorted(left, key=lambda name: name != supervisord.NAME):
                stop_all([left[name]], self.settings.stack_stop_timeout_seconds)
            for pattern in ("*.process.json", "*.launch.json", "*.sock"):
                for file in self.home.run.glob(pattern):
                    file.unlink()
            return found

    def destroy(self) -> None:
        """Stop everything and delete all data, including PostgreSQL's outside the home."""
        self.down()
        if self.home.secrets_file.exists():
            home_id = Credentials.read(self.home).home_id
            outside = self.settings.postgres_root_folder / home_id
            if outside.exists():
                shutil.rmtree(outside)
        if self.home.path.exists():
            shutil.rmtree(self.home.path)

    # ---- inside

    def _start_together(self, names: tuple[str, ...]) -> None:
        """Start processes in parallel, each after those it needs; report the first failure."""
        if not names:
            return
        after = {program.name: program.after for program in PROGRAMS}
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            futures: dict[str, Future[None]] = {}
            for name in [program.name for program in PROGRAMS if program.name in names]:
                needed = [futures[other] for other in after[name] if other in futures]
                futures[name] = pool.submit(self._start_one, name, needed)
            failures = [
                error for future in as_completed(futures.values()) if (error := future.exception())
            ]
        for failure in failures:
            raise failure

    def _start_one(self, name: str, needed: Sequence[Future[None]]) -> None:
        for other in needed:
            other.result()
        began = time.monotonic()
        self.start(name)
        self.wait_ready(name)
        if name == "postgres":
            postgres.create_logins(self.endpoints, Credentials.read(self.home))
        self._say(f"{name} is up ({time.monotonic() - began:.1f} s)")

    def _stop_in_order(self) -> None:
        """Stop each process before those it needs, then supervisord."""
        waiting = {program.name: program for program in PROGRAMS}
        while waiting:
            needed = {other for program in waiting.values() for other in program.after}
            now = [name for name in waiting if name not in needed]
            self._stop_and_wait(now)
            for name in now:
                del waiting[name]
        self._supervisor.shut_down()
        self._wait_supervisor_gone()

    def _stop_and_wait(self, names: list[str]) -> None:
        deadline = time.monotonic() + self.settings.stack_stop_timeout_seconds
        while True:
            processes = self._supervisor.processes()
            # The supervisord of an older version does not know newer programs.
            known = [name for name in names if name in processes]
            left = [name for name in known if processes[name].state not in AT_REST]
            if not left:
                return
            for name in left:
                # Repeatedly, because supervisord restarts a process that has just died by itself.
                if processes[name].state is not State.STOPPING:
                    self._supervisor.stop_process(name)
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"{', '.join(left)} did not stop; see {self.home.logs}")
            time.sleep(POLL_SECONDS)

    def _wait_supervisor_gone(self) -> None:
        deadline = time.monotonic() + self.settings.stack_stop_timeout_seconds
        while self.pid(supervisord.NAME) is not None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _repair(self) -> None:
        """Prepare a clean start: stop processes whose supervisord does not answer."""
        expected = supervisord.configuration(PROGRAMS)
        configuration = self.home.run / supervisord.CONFIGURATION_FILE
        if self._supervisor.answers():
            if configuration.read_text(encoding="utf-8") == expected:
                return
            self._say("The stack was started by another version of Purser: restarting it")
            self._stop_in_order()
        left = living(self.home)
        if left:
            self._say(f"Stopping what an earlier run left behind: {', '.join(sorted(left))}")
            for name in sorted(left, key=lambda name: name != supervisord.NAME):
                stop_all([left[name]], self.settings.stack_stop_timeout_seconds)

    def _running(self) -> set[str]:
        """The names of programs that are running or starting."""
        if not self._supervisor.answers():
            return set()
        processes = self._supervisor.processes()
        return {name for name, process in processes.items() if process.state in UP}

    def _wait_for_supervisor(self) -> None:
        deadline = time.monotonic() + self.settings.stack_start_timeout_seconds
        while not self._supervisor.answers():
            if self.pid(supervisord.NAME) is None or time.monotonic() > deadline:
                log = self.home.log(supervisord.NAME)
                raise ServiceUnavailable(f"supervisord did not start: {last_lines(log)}")
            time.sleep(POLL_SECONDS)

    def _starts(self, name: str) -> int:
        record = read_record(self.home, name)
        return record.starts if record else 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Allow one `up` or `down` of a home at a time; the kernel frees a dead process's lock."""
        with self.home.lock_file.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("Waiting for another purser command that starts or stops this stack")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _refuse_other_ports(self) -> None:
        """Raise ConfigurationError if the stack runs on other ports than the configured ones."""
        port_base = stored(self.home, "port_base")
        if port_base not in (None, self.settings.port_base) and living(self.home):
            raise ConfigurationError(
                f"PURSER_PORT_BASE: the stack in {self.home.path} runs on ports from {port_base}"
                f" on, not {self.settings.port_base}; unset it, or run `purser down` first"
            )

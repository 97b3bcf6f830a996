"""A process of the stack: how to run it, and how to find it again from its record on disk."""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from schemas.errors import ServiceUnavailable
from stack.launch import start_mark
from stack.layout import Home, write_private
from stack.topology import Program

POLL_SECONDS = 0.05
KILL_SECONDS = 10.0

# Variables that a server may inherit from the shell of `purser up`.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "USER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """How to run a program. `environment` is added to the few variables that it inherits."""

    program: Program
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    os_user: str | None = None  # become this user first; only possible as root
    postgres_data: Path | None = None  # look after a stale postmaster.pid in this folder
    detach: bool = False

    def write(self, home: Home) -> Path:
        """Write it where `stack.launch` reads it; readable by its owner only, for the secrets."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        path = home.specification(self.program.name)
        content = {
            "command": self.command,
            "directory": str(self.directory),
            "environment": {**inherited, **self.environment},
            "os_user": self.os_user,
            "postgres_data": str(self.postgres_data) if self.postgres_data else None,
            "stop_signal": self.program.stop_signal,
            "nice": self.program.nice,
            "detach": self.detach,
            "log": str(home.log(self.program.name)),
            "record": str(home.record(self.program.name)),
        }
        write_private(path, json.dumps(content, indent=2))
        return path

    def changed_variables(self, home: Home) -> set[str]:
        """The variables of `environment` that were set otherwise when it was last written."""
        try:
            text = home.specification(self.program.name).read_text(encoding="utf-8")
            before = json.loads(text)["environment"]
        except (OSError, ValueError, KeyError):
            return set()  # nothing is known
        names = {name for name in before if name not in INHERITED} | set(self.environment)
        return {name for name in names if before.get(name) != self.environment.get(name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a process recorded about itself when it started."""

    pid: int
    start_mark: str
    stop_signal: str
    generation: str
    starts: int

    def process(self) -> psutil.Process | None:
        """The living process, or None if it is gone or another process has its id."""
        try:
            process = psutil.Process(self.pid)
            if start_mark(self.pid) != self.start_mark:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None


def read_record(home: Home, name: str) -> Record | None:
    """The record of a process of this home, or None if there is no readable one."""
    try:
        content = json.loads(home.record(name).read_text(encoding="utf-8"))
        return Record(
            pid=int(content["pid"]),
            start_mark=str(content["start_mark"]),
            stop_signal=str(content["stop_signal"]),
            generation=str(content["generation"]),
            starts=int(content["starts"]),
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def living(home: Home) -> dict[str, Record]:
    """The records of all living processes of this home by name, including supervisord."""
    found = {}
    for path in sorted(home.run.glob("*.process.json")):
        name = path.name.removesuffix(".process.json")
        record = read_record(home, name)
        if record is not None and record.process() is not None:
            found[name] = record
    return found


def stop_all(records: Iterable[Record], patience_seconds: float) -> None:
    """Ask processes to stop, wait, then kill the remaining ones with all their descendants.

    Raises ServiceUnavailable if a process survives even that.
    """
    families: set[psutil.Process] = set()
    for record in records:
        process = record.process()
        if process is None:
            continue
        families |= {process, *_descendants(process)}
        _signal(process, signal.Signals[f"SIG{record.stop_signal}"])
    wait_gone(families, patience_seconds)
    for process in families:
        _signal(process, signal.SIGKILL)
    survivors = wait_gone(families, KILL_SECONDS)
    if survivors:
        raise ServiceUnavailable(
            f"processes {sorted(survivors)} do not die; inspect them with `ps` and stop them"
        )


def wait_gone(processes: Iterable[psutil.Process], seconds: float) -> list[int]:
    """Wait until processes are gone; return the ids of those that are left after `seconds`."""
    left = list(processes)
    deadline = time.monotonic() + seconds
    while left := [process for process in left if not is_gone(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return [process.pid for process in left]


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return

"""Becomes one process of the stack: records the process, drops privileges, then calls exec.

supervisord runs this file directly (`python -I launch.py SPECIFICATION`) each time it starts a
process. It imports no other module of Purser, so that a broken one cannot keep a server from
starting. exec keeps the process id and the start time, so the record on disk identifies the process
even after supervisord is gone. The specification is JSON; see `stack.process.Specification`.
"""

import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import Any

import psutil

START_TICKS_FIELD = 19  # in /proc/PID/stat, after the command's name: field 22 of proc(5)
POSTMASTER_PID = "postmaster.pid"
AUTOGROUP_ATTEMPTS, AUTOGROUP_SECONDS = 20, 0.1


def main(specification_file: Path) -> None:
    """Record the process and exec; never returns."""
    specification: dict[str, Any] = json.loads(specification_file.read_text(encoding="utf-8"))
    recorded = detach(Path(specification["log"])) if specification["detach"] else None
    if recorded is None:
        own_session()
    step_back(specification["nice"])
    record(
        Path(specification["record"]),
        os.environ.get("PURSER_STACK_GENERATION", ""),
        specification["stop_signal"],
    )
    if recorded is not None:
        os.close(recorded)
    if specification["postgres_data"]:
        remove_reused_pid_file(Path(specification["postgres_data"]))
    os.chdir(specification["directory"])
    if specification["os_user"]:
        become(specification["os_user"])
    command = specification["command"]
    os.execve(command[0], command, specification["environment"])


def detach(log: Path) -> int:
    """Leave the caller's session and terminal.

    The caller continues when the returned file descriptor is closed.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return writer


def own_session() -> None:
    """Leave supervisord's session for a new one, keeping the process id.

    Linux divides the processor between sessions, and each PostgreSQL process creates one. In a
    shared session, all other processes together would get as little as one PostgreSQL process.
    """
    # supervisord made this process a group leader, and a leader may not create a session.
    os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


def step_back(nice: int) -> None:
    """Leave the processor to others: a nice value for this process and for its session.

    Where Linux divides the processor between sessions first (sched(7), "The autogroup feature"), a
    process's own value counts only within its session.
    """
    if not nice:
        return
    os.nice(nice)
    for _ in range(AUTOGROUP_ATTEMPTS):
        try:
            Path("/proc/self/autogroup").write_text(str(nice), encoding="ascii")
        except BlockingIOError:  # unless root asks, the kernel takes one change in 100 ms
            time.sleep(AUTOGROUP_SECONDS)
        except OSError:
            return  # sessions do not matter here
        else:
            return


def start_mark(pid: int) -> str | None:
    """Distinguishes a process from others with the same id: boot id and start time in ticks.

    A wall-clock time would change when the clock is set. None if there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    ticks = stat.rpartition(")")[2].split()[START_TICKS_FIELD]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{ticks}"


def record(path: Path, generation: str, stop_signal: str) -> None:
    """Record this process; `starts` counts within one run of supervisord (`generation`)."""
    starts = 0
    if path.exists():
        try:
            previous = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # half-written by a machine that crashed
            previous = None
        if isinstance(previous, dict) and previous.get("generation") == generation:
            starts = int(previous["starts"])
    content = {
        "pid": os.getpid(),
        "start_mark": start_mark(os.getpid()),
        "stop_signal": stop_signal,
        "generation": generation,
        "starts": starts + 1,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)


def remove_reused_pid_file(data: Path) -> None:
    """Remove a postmaster.pid whose process id now belongs to an unrelated process.

    PostgreSQL recognizes a dead process id, but refuses to start if another process of the same
    user has got that id (after a reboot, in a container). It also uses the file to find its
    orphaned children, so the file stays if the id is dead or if any child lives.
    """
    pid_file = data / POSTMASTER_PID
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if pid == os.getpid() or not psutil.pid_exists(pid):
        return
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "postgres" and process.info["cwd"] == str(data):
            return
    pid_file.unlink()


def become(os_user: str) -> None:
    """Give up root permanently."""
    entry = pwd.getpwnam(os_user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The state of each process of a stack, from supervisord, its record on disk, and its answer."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import psutil

from schemas.errors import ServiceUnavailable
from stack import supervisord
from stack.credentials import Credentials
from stack.layout import Home
from stack.process import Record, read_record
from stack.programs import check_ready
from stack.settings import StackSettings
from stack.supervisord import State, Supervised, Supervisor
from stack.topology import programs_of


class ProcessState(StrEnum):
    """The state of a process, for people and scripts."""

    RUNNING = "running"
    STARTING = "starting"
    RESTARTING = "restarting"  # it died and will be started again
    STOPPED = "stopped"
    ORPHANED = "orphaned"  # it runs, but supervisord is gone and would not restart it


_STATES: Mapping[State, ProcessState] = {
    State.RUNNING: ProcessState.RUNNING,
    State.STARTING: ProcessState.STARTING,
    State.BACKOFF: ProcessState.RESTARTING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process. `problem` is None if it runs and answers. Memory includes its children."""

    name: str
    state: ProcessState
    pid: int | None
    uptime_seconds: float | None
    restarts: int
    memory_bytes: int | None
    problem: str | None


def process_statuses(
    settings: StackSettings, home: Home, credentials: Credentials
) -> tuple[ProcessStatus, ...]:
    """The state of supervisord and of all its programs, queried in parallel."""
    try:
        supervised = Supervisor(home).processes()
    except ServiceUnavailable:
        supervised = {}
    programs = programs_of(settings.views_workers)
    with ThreadPoolExecutor(max_workers=len(programs)) as pool:
        rows = pool.map(
            lambda program: _status(
                program.name, supervised.get(program.name), settings, home, credentials
            ),
            programs,
        )
        return (_supervisor_status(home, answers=bool(supervised)), *rows)


def _supervisor_status(home: Home, *, answers: bool) -> ProcessStatus:
    record = read_record(home, supervisord.NAME)
    state = ProcessState.RUNNING if answers else ProcessState.STOPPED
    problem = None if answers else f"{supervisord.NAME} does not answer: run `purser up`"
    return _row(supervisord.NAME, state, record, problem)


def _status(
    name: str,
    supervised: Supervised | None,
    settings: StackSettings,
    home: Home,
    credentials: Credentials,
) -> ProcessStatus:
    record = read_record(home, name)
    alive = record is not None and record.process() is not None
    if supervised is None:
        state = ProcessState.ORPHANED if alive else ProcessState.STOPPED
    else:
        state = _STATES.get(supervised.state, ProcessState.STOPPED)
    problem = f"{name} is {state.value}"
    if state in (ProcessState.RUNNING, ProcessState.STARTING):
        try:
            check_ready(name, settings, credentials)
        except ServiceUnavailable as error:
            problem = str(error)
        else:
            return _row(name, ProcessState.RUNNING, record, None)
    return _row(name, state, record, problem)


def _row(
    name: str, state: ProcessState, record: Record | None, problem: str | None
) -> ProcessStatus:
    process = record.process() if record else None
    return ProcessStatus(
        name=name,
        state=state,
        pid=process.pid if process else None,
        uptime_seconds=_uptime(process) if process else None,
        restarts=max(0, record.starts - 1) if record else 0,
        memory_bytes=_memory(name, process) if process else None,
        problem=problem,
    )


def _uptime(process: psutil.Process) -> float | None:
    try:
        return max(0.0, time.time() - process.create_time())
    except psutil.NoSuchProcess:
        return None


def _memory(name: str, process: psutil.Process) -> int | None:
    """Bytes of a process and its children; shared memory counts once (proportional share)."""
    try:
        # supervisord's children have separate rows.
        children = [] if name == supervisord.NAME else process.children(recursive=True)
        total = int(process.memory_full_info().pss)
    except psutil.Error:
        return None
    for child in children:
        try:
            total += child.memory_full_info().pss
        except psutil.NoSuchProcess:  # it ended meanwhile, such as a database connection
            continue
    return total

"""supervisord: the process manager that starts, restarts and stops the stack's processes.

Its configuration contains no secret and only relative paths. Everything else reaches the processes
through their launch specifications. So no character in a folder's name can break it, and the folder
may be arbitrarily deep.
"""

import os
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from secrets import token_hex
from typing import Any
from xml.parsers.expat import ExpatError

from supervisor.xmlrpc import Faults

from schemas.errors import ServiceUnavailable
from stack.layout import Home
from stack.process import Specification
from stack.topology import Program

NAME = "supervisord"
CONFIGURATION_FILE = "supervisord.conf"
LAUNCHER = Path(__file__).with_name("launch.py")
PROCESS_MANAGER = Path(__file__).with_name("process_manager.py")
SOCKET = "supervisord.sock"
# supervisord makes paths absolute, and a socket's path has at most 107 bytes. This one is short.
SOCKET_IN_FOLDER = f"/proc/self/cwd/{SOCKET}"
LOG_BYTES_MOST = "20MB"
LOG_FILES_KEPT = 3
# A process that dies sooner than this is restarted after a pause, one second longer each time, up
# to the limit in `stack.process_manager`. With this many retries supervisord never gives up.
STEADY_SECONDS = 10
START_RETRIES = 1_000_000
LAUNCH_SECONDS = 30.0
ANSWER_SECONDS = 15.0

HEADER = """\
; Written by `purser up` each time; change stack/supervisord.py instead.
[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
nodaemon=true
silent=true
logfile=../logs/supervisord.events.log
logfile_maxbytes={log_bytes}
logfile_backups={log_files}
pidfile=supervisord.pid
childlogdir=.
identifier=purser
minfds=256
"""

PROGRAM = """
[program:{name}]
command=/bin/sh -c 'exec "$PURSER_STACK_PYTHON" -I "$PURSER_STACK_LAUNCHER" {specification}'
autostart=false
autorestart=true
startsecs={steady_seconds}
startretries={start_retries}
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
redirect_stderr=true
stdout_logfile=../logs/{name}.log
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={log_files}
"""


class State(StrEnum):
    """The state of a process according to supervisord."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


UP = frozenset({State.RUNNING, State.STARTING})
# Not EXITED, which a process that died is in for a moment before its restart.
AT_REST = frozenset({State.STOPPED, State.FATAL, State.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """supervisord's view of one process; times are Unix seconds, pid 0 means not running."""

    name: str
    state: State
    pid: int
    started: int


def configuration(programs: Sequence[Program]) -> str:
    """The text of supervisord's configuration."""
    parts = [
        HEADER.format(socket=SOCKET_IN_FOLDER, log_bytes=LOG_BYTES_MOST, log_files=LOG_FILES_KEPT)
    ]
    parts += [
        PROGRAM.format(
            name=program.name,
            specification=f"{program.name}.launch.json",
            start_retries=START_RETRIES,
            steady_seconds=STEADY_SECONDS,
            stop_signal=program.stop_signal,
            stop_seconds=program.stop_seconds,
            log_bytes=LOG_BYTES_MOST,
            log_files=LOG_FILES_KEPT,
        )
        for program in programs
    ]
    return "".join(parts)


def start(home: Home, programs: Sequence[Program]) -> None:
    """Start supervisord without any of its programs; return when its process exists."""
    configuration_file = home.run / CONFIGURATION_FILE
    configuration_file.write_text(configuration(programs), encoding="utf-8")
    itself = Specification(
        program=Program(name=NAME),
        command=(
            sys.executable,
            "-I",
            str(PROCESS_MANAGER),
            "-c",
            configuration_file.name,
        ),
        directory=home.run,
        environment={
            "PURSER_STACK_PYTHON": sys.executable,
            "PURSER_STACK_LAUNCHER": str(LAUNCHER),
            "PURSER_STACK_GENERATION": token_hex(8),
        },
        detach=True,
    )
    answer = subprocess.run(
        [sys.executable, "-I", LAUNCHER, itself.write(home)],
        capture_output=True,
        text=True,
        timeout=LAUNCH_SECONDS,
        check=False,
    )
    if answer.returncode != 0:
        raise ServiceUnavailable(f"supervisord cannot be started: {answer.stderr.strip()[-500:]}")


class Supervisor:
    """Talks to a home's supervisord over its socket.

    Every method raises ServiceUnavailable if supervisord does not answer.
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.run

    def answers(self) -> bool:
        """Whether supervisord answers."""
        try:
            self.processes()
        except ServiceUnavailable:
            return False
        return True

    def processes(self) -> dict[str, Supervised]:
        """All programs by name."""
        return {
            row["name"]: Supervised(
                name=row["name"],
                state=State(row["statename"]),
                pid=row["pid"],
                started=row["start"],
            )
            for row in self._call("getAllProcessInfo")
        }

    def start_process(self, name: str) -> None:
        """Begin to start a program; does nothing if it is running."""
        self._call("startProcess", name, False, forgive=Faults.ALREADY_STARTED)

    def stop_process(self, name: str) -> None:
        """Begin to stop a program; does nothing if it is not running."""
        self._call("stopProcess", name, False, forgive=Faults.NOT_RUNNING)

    def shut_down(self) -> None:
        """Ask supervisord to stop all running programs and exit."""
        self._call("shutdown", forgive=Faults.SHUTDOWN_STATE)

    def _call(self, method: str, *arguments: str | bool, forgive: int | None = None) -> Any:
        """Call a method of supervisord; only this method translates its errors into ours."""
        body = xmlrpc.client.dumps(arguments, f"supervisor.{method}")
        try:
            with closing(_UnixConnection(self._folder)) as connection:
                connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
                answer = connection.getresponse()
                if answer.status != HTTPStatus.OK:
                    raise HTTPException(f"status {answer.status}")
                return xmlrpc.client.loads(answer.read())[0][0]
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == forgive:
                return None
            raise ServiceUnavailable(f"supervisord refused: {fault.faultString}") from fault
        except (OSError, HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise ServiceUnavailable(
                f"supervisord does not answer in {self._folder}: {error}; run `purser up`"
            ) from error


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket, for one request."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._folder = folder

    def connect(self) -> None:
        """Connect; a supervisord that hangs counts as not answering."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # The path through a descriptor is short in any folder.
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        finally:
            os.close(folder)

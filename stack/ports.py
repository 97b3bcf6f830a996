"""Checks for taken ports before anything starts, and lends port ranges to temporary stacks."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from schemas.errors import ConfigurationError
from stack.settings import HOST, StackSettings
from stack.topology import PORTS_RESERVED, Port

# Below the ports that Linux hands out to outgoing connections (from 32768 on).
LENT_LOWEST = 20_000
LENT_HIGHEST = 32_000


def check_free(settings: StackSettings, ports: Iterable[Port]) -> None:
    """Raise ConfigurationError naming the first port that is in use."""
    for port in ports:
        number = settings.port(port)
        if not is_free(number):
            raise ConfigurationError(
                f"port {number} (for {port.value}) is taken{_holder(number)}; stop what uses it or"
                f" set PURSER_PORT_BASE (now {settings.port_base}) to another free range of"
                f" {PORTS_RESERVED} ports"
            )


def is_free(number: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set it too: lingering connections of an ended server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
        return True


@contextmanager
def lend_port_base() -> Iterator[int]:
    """A port base whose ports are all free, for the duration of the context.

    A file lock keeps other borrowers away from the check until the servers listen. Raises
    ConfigurationError if there is none.
    """
    folder = Path(tempfile.gettempdir()) / f"purser-ports-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    bases = list(range(LENT_LOWEST, LENT_HIGHEST, PORTS_RESERVED))
    random.shuffle(bases)
    for base in bases:
        with (folder / str(base)).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if all(is_free(number) for number in range(base, base + PORTS_RESERVED)):
                yield base
                return
    raise ConfigurationError(
        f"no {PORTS_RESERVED} free ports in a row from {LENT_LOWEST} to {LENT_HIGHEST}; stop"
        " unused stacks"
    )


_lent = ExitStack()
_lent_ports: list[int] = []


def lend_port() -> int:
    """A free port that no other borrower gets until this process ends.

    A port that the system picks could go to any outgoing connection while its server is down.
    Raises ConfigurationError when there is none.
    """
    if not _lent_ports:
        base = _lent.enter_context(lend_port_base())
        _lent_ports.extend(range(base, base + PORTS_RESERVED))
    return _lent_ports.pop()


def _holder(number: int) -> str:
    """The process that listens on a port, if we are allowed to see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == number and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""

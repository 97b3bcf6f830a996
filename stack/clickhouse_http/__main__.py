"""`python -m stack.clickhouse_http --path DIR --host 127.0.0.1 --port N`.

User and password come from PURSER_CLICKHOUSE_USER and PURSER_CLICKHOUSE_PASSWORD; the analysts'
user `purser_reader` exists when PURSER_CLICKHOUSE_READER_PASSWORD is set. SIGTERM stops gracefully.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from schemas.errors import ConfigurationError
from schemas.runtime import entry_point
from stack.clickhouse_http.secrets_pipe import take_secrets
from stack.clickhouse_http.settings import ServerSettings

_BACKLOG = 256


@entry_point
def main() -> None:
    """Run the server until it is told to stop.

    Raises:
        ConfigurationError: it cannot start.
    """
    parser = argparse.ArgumentParser(
        prog="python -m stack.clickhouse_http",
        description="ClickHouse's HTTP interface in front of chDB.",
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of the data")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    arguments = parser.parse_args()
    secrets = take_secrets()
    # chDB imports pyarrow where it finds it, and we hand out none of its objects: 40 MB less.
    sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
    # The readers in C of clickhouse-connect take no other buffer than their own, which does not
    # tell how much was read; see `native_frames`.
    os.environ["CLICKHOUSE_CONNECT_USE_C"] = "0"
    from stack.clickhouse_http.app import build_app

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    settings = ServerSettings.load(
        path=arguments.path, host=arguments.host, port=arguments.port, **secrets
    )
    listener = _listen(settings.host, settings.port)
    app = build_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.stop_seconds,
            timeout_keep_alive=60,
        )
    )
    server.run(sockets=[listener])


def _leave(number: int, frame: FrameType | None) -> None:
    """Exit on a signal before the server ran or (uvicorn raises it again) after it ended."""
    sys.exit(0)


def _listen(host: str, port: int) -> socket.socket:
    """Bind the port before the engine starts, so that a used one is reported immediately."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"--port {port}: cannot listen on {host}: {error.strerror}; choose another port."
        ) from None
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    main()

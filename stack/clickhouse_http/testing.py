"""A separate server for tests, with a free port and a folder, that can be killed and restarted.

with ClickHouseServer(tmp_path / "clickhouse") as server:
    client = server.client()
    server.kill()       # kill -9
    server.start()      # the same folder, the same port
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import clickhouse_connect
import httpx

from stack.local_http import local_get
from stack.ports import lend_port

READER: Final = "purser_reader"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


class ClickHouseServer:
    """The ClickHouse server as a separate process, on 127.0.0.1."""

    def __init__(
        self,
        folder: Path,
        *,
        user: str = "purser",
        database: str = "purser",
        environment: dict[str, str] | None = None,
    ) -> None:
        """`environment` is added to the process's own; it may be changed before a start."""
        self.folder = folder
        self.user = user
        self.database = database
        self.password = secrets.token_urlsafe(12)
        self.reader_password = secrets.token_urlsafe(12)
        self.port = lend_port()
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address, without credentials."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url_with_credentials(self) -> str:
        """The value of `PURSER_CLICKHOUSE_URL`."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"

    @property
    def reader_url(self) -> str:
        """The value of `PURSER_CLICKHOUSE_READER_URL`."""
        return f"http://{READER}:{self.reader_password}@127.0.0.1:{self.port}/{self.database}"

    @property
    def log_path(self) -> Path:
        """Standard output and error of the process."""
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def pid(self) -> int:
        """The process's id; it must be running."""
        if self._process is None:
            raise RuntimeError("the server is not running; call start() first")
        return self._process.pid

    def client(self, **options: Any) -> Any:
        """A clickhouse-connect client of the writing user."""
        arguments = {
            "host": "127.0.0.1",
            "port": self.port,
            "username": self.user,
            "password": self.password,
            "database": self.database,
        }
        return clickhouse_connect.get_client(**{**arguments, **options})

    def start(self) -> None:
        """Start it and wait until it answers, on the same folder and port as before."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PURSER_CLICKHOUSE_USER": self.user,
            "PURSER_CLICKHOUSE_PASSWORD": self.password,
            "PURSER_CLICKHOUSE_READER_PASSWORD": self.reader_password,
            "PURSER_CLICKHOUSE_DATABASE": self.database,
            **self.environment,
        }
        command = [sys.executable, "-m", "stack.clickhouse_http"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--path", str(self.folder), "--port", str(self.port)],
                cwd=_CHECKOUT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self._wait_until_up(self._process)

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                if local_get(f"{self.url}/ping", 1.0).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(_POLL_SECONDS)
        self.kill()
        raise RuntimeError(f"the server did not start:\n{self.log_path.read_text()}")

    def kill(self) -> None:
        """Kill the process (kill -9), like a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop gracefully (SIGTERM); returns the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

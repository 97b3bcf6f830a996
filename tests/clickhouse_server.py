"""A ClickHouse for tests: the local stack's own server, or any other by URL.

PURSER_TEST_CLICKHOUSE_URL (`http://user:password@host:8123`) points the tests at a real server;
each test then works in a database of its own there.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import clickhouse_connect

from sinks.settings import ClickHouseSettings
from stack.ports import lend_port_base
from stack.settings import HOST
from tests.waiting import wait_until

URL_VARIABLE = "PURSER_TEST_CLICKHOUSE_URL"
USER, PASSWORD = "purser", "p@ss:w/rd?"


@dataclass
class Server:
    """A server of ours that a test may kill; `url` has no database."""

    path: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{USER}:p%40ss%3Aw%2Frd%3F@{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {
            **os.environ,
            "PURSER_CLICKHOUSE_USER": USER,
            "PURSER_CLICKHOUSE_PASSWORD": PASSWORD,
        }
        command = [sys.executable, "-m", "stack.clickhouse_http"]
        command += ["--path", str(self.path), "--host", HOST, "--port", str(self.port)]
        self.process = process = subprocess.Popen(command, env=environment)

        def answers() -> bool:
            assert process.poll() is None, "the ClickHouse server ended at once"
            return self._answers()

        wait_until(answers, "the ClickHouse server answers")

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{HOST}:{self.port}/ping", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def own_server(folder: Path) -> Iterator[Server]:
    """A server of its own, in a folder of its own."""
    with lend_port_base() as port:
        server = Server(folder, port)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """The URL of a database with a new name, which is dropped afterwards; nobody created it."""
    name = f"test_{uuid.uuid4().hex}"
    try:
        yield f"{server_url}/{name}"
    finally:
        address = ClickHouseSettings.load(server_url).address()
        client = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            interface=address.interface,
            dedicated_pool=True,
        )
        client.command(f"DROP DATABASE IF EXISTS {name} SYNC")
        client.close()

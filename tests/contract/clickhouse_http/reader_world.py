"""A server with views, a raw table, a secret file and a listener, for the tests of its reader."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sinks.migrate import migrate
from stack.clickhouse_http.testing import READER, ClickHouseServer

ROW = "('seller-1', 'EUR', '2026-01-01', 1000, 0, 0, 100, 0, 900, 900, 0, 1, 0, 0, 3)"


@dataclass
class Listener:
    """A server on this machine that nobody may call."""

    port: int = 0
    calls: int = 0
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.calls += 1
                connection.close()


@dataclass
class World:
    """A migrated server with one row of revenue, and a table and a file that hold a secret."""

    server: ClickHouseServer
    secret: str
    secret_file: Path
    listener: Listener

    def admin(self) -> httpx.Client:
        """An HTTP client of the writing user."""
        return self._client(self.server.user, self.server.password)

    def reader(self) -> httpx.Client:
        """An HTTP client of the reader."""
        return self._client(READER, self.server.reader_password)

    def _client(self, user: str, password: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.server.url, auth=(user, password), timeout=60.0, verify=False
        )

    def filled(self, text: str) -> str:
        """The text with the secret file for SECRET and the listener's port for PORT."""
        text = text.replace("SECRET", str(self.secret_file))
        return text.replace("PORT", str(self.listener.port))

    def check_unchanged(self) -> None:
        """Assert that nothing of all that was tried had an effect."""
        assert not self.listener.calls
        with self.admin() as admin:
            assert ask(admin, "SELECT a FROM purser.other") == f"{self.secret}\n"
            assert ask(admin, "SELECT count() FROM purser.seller_revenue_raw") == "1\n"
            roles = ask(admin, "SELECT currentRoles()")
            assert roles == "['purser_admin','purser_analyst']\n"
            databases = set(ask(admin, "SHOW DATABASES").lower().split())
            assert databases == {"information_schema", "default", "purser", "system"}


@contextmanager
def reader_world(folder: Path) -> Iterator[World]:
    """The world, running; at its end it must be what it was."""
    secret = secrets.token_hex(8)
    secret_file = folder / "secret.txt"
    secret_file.write_text(secret + "\n")
    with ClickHouseServer(folder / "data") as server:
        migrate(server.url_with_credentials)
        world = World(server, secret, secret_file, Listener())
        with world.admin() as admin:
            ask(admin, "CREATE TABLE purser.other (a String) ENGINE = MergeTree ORDER BY a")
            ask(admin, f"INSERT INTO purser.other VALUES ('{secret}')")
            ask(admin, f"INSERT INTO purser.seller_revenue_raw VALUES {ROW}")
        yield world
        world.check_unchanged()
        world.listener.listening.close()


def ask(client: httpx.Client, statement: str, **options: str) -> str:
    """The answer's text; raises for an error."""
    response = client.post("/", params=options, content=statement)
    response.raise_for_status()
    return response.text

"""A server with views, a raw table, a secret file and a listener, for the tests of its reader."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from schemas.lifecycle import EventType
from schemas.views import LEDGER_ENTRIES
from sinks.clickhouse import ClickHouseSink
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from stack.clickhouse_http.testing import READER, ClickHouseServer
from streams.fold import fold_batch
from tests.events import NOON, pay_in, record

ROW = (
    "('bank', 'tipalti', 'EUR', '2026-01-01', generateUUIDv4(), 1, 1, 'paid', -900,"
    " toStartOfMinute(now()))"
)
"""A row of `ledger_entries_raw`."""


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
    """A migrated server with one capture's entries, and a table and a file that hold a secret."""

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
            assert ask(admin, "SELECT count() FROM purser.ledger_entries_raw") == "3\n"
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
        _write_capture(server.url_with_credentials)
        world = World(server, secret, secret_file, Listener())
        with world.admin() as admin:
            ask(admin, "CREATE TABLE purser.other (a String) ENGINE = MergeTree ORDER BY a")
            ask(admin, f"INSERT INTO purser.other VALUES ('{secret}')")
        yield world
        world.check_unchanged()
        world.listener.listening.close()


def _write_capture(url: str) -> None:
    """The entries of 10 EUR captured for seller-1, recorded now and noted as a worker notes them.

    The platform's commission is 1 EUR.
    """
    capture = pay_in(
        EventType.CAPTURED,
        amount_minor=1_000,
        commission_minor=100,
        recorded_at=datetime.now(UTC),
    )
    batch = fold_batch([record(capture)], consumer="views", parked_at=NOON)
    with closing(ClickHouseSink(ClickHouseSettings.load(url))) as sink:
        sink.write({LEDGER_ENTRIES: batch.columns[LEDGER_ENTRIES]})
        sink.note_minutes(batch.minutes)


def ask(client: httpx.Client, statement: str, **options: str) -> str:
    """The answer's text; raises for an error."""
    response = client.post("/", params=options, content=statement)
    response.raise_for_status()
    return response.text

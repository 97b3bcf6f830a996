"""A proxy in front of ClickHouse that cuts a connection in the middle of an insert.

It tells an insert by its table in the request's head; what it does with the one it waits for is up
to the test: half of the body and then a call, or the whole of it and no answer.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote_plus

CHUNK_BYTES = 65_536


class CuttingProxy:
    """Passes bytes between clients and a server until it is told to cut; use as a context."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._table: str | None = None
        self._action: Callable[[], None] = lambda: None
        self._whole = False
        self._lock = threading.Lock()

    def cut_next_insert(self, view: str, *, whole: bool, action: Callable[[], None]) -> None:
        """Of the next insert into a view's table let half of the body through, or with `whole` all
        of it; then call `action`, and close the connection without an answer.
        """
        with self._lock:
            self._table, self._whole, self._action = view, whole, action

    def __enter__(self) -> "CuttingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            client.close()
            return
        silenced, answered = threading.Event(), threading.Event()
        answers = threading.Thread(
            target=_answer, args=(server, client, silenced, answered), daemon=True
        )
        answers.start()
        try:
            while data := client.recv(CHUNK_BYTES):
                if self._is_due(data):
                    silenced.set()
                    self._cut(client, server, data, answered)
                    return
                server.sendall(data)
        except OSError:
            pass
        finally:
            _shut(server)
            answers.join(5.0)
            client.close()
            server.close()

    def _is_due(self, data: bytes) -> bool:
        with self._lock:
            if self._table is None:
                return False
            text = unquote_plus(data[:CHUNK_BYTES].decode("latin-1")).lower().replace("`", "")
            due = f"insert into {self._table}_raw " in text.replace("\n", " ")
            if due:
                self._table = None
            return due

    def _cut(
        self, client: socket.socket, server: socket.socket, data: bytes, answered: threading.Event
    ) -> None:
        """Pass on the head and the wanted part of the body; the client gets no answer."""
        if self._whole:
            server.sendall(data)
            client.settimeout(0.05)
            while not answered.is_set():
                with suppress(TimeoutError):
                    server.sendall(client.recv(CHUNK_BYTES))
        else:
            server.sendall(data[: len(data) // 2])
        self.cuts += 1
        self._action()


def _answer(
    server: socket.socket,
    client: socket.socket,
    silenced: threading.Event,
    answered: threading.Event,
) -> None:
    """Pass the server's answers on until the connection is silenced; then only note them."""
    with suppress(OSError):
        while data := server.recv(CHUNK_BYTES):
            if silenced.is_set():
                answered.set()
            else:
                client.sendall(data)
    _shut(client)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)

"""Whoever a replay must not call: sockets that count who connects to them."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.integration.replay.world import Run

# Whoever could be called, by the names under which they are or would be told to a process of ours.
OUTSIDERS = {
    "PSP": ("PURSER_STRIPE_URL", "STRIPE_API_BASE"),
    "Tipalti": ("PURSER_TIPALTI_URL",),
    "SMTP": ("PURSER_SMTP_URL", "PURSER_MAIL_URL"),
    "the API": ("PURSER_API_URL", "PURSER_WRITER_URL"),
}


class Outsider:
    """A socket that listens in place of somebody, and counts who connects."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.connections = 0


@contextmanager
def listening() -> Iterator[dict[str, Outsider]]:
    """One socket for each outsider."""
    outsiders = {name: Outsider() for name in OUTSIDERS}
    stop = threading.Event()

    def accept() -> None:
        with selectors.DefaultSelector() as selector:
            for outsider in outsiders.values():
                selector.register(outsider.socket, selectors.EVENT_READ, outsider)
            while not stop.is_set():
                for key, _ in selector.select(0.1):
                    key.data.socket.accept()[0].close()
                    key.data.connections += 1

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield outsiders
    finally:
        stop.set()
        thread.join()
        for outsider in outsiders.values():
            outsider.socket.close()


def ports_called(run: Run) -> set[int]:
    """Ports that the replay and its readers are connected to, looked at until it ends."""
    seen: set[int] = set()
    while run.process.poll() is None:
        try:
            parent = psutil.Process(run.process.pid)
            for process in (parent, *parent.children(recursive=True)):
                seen |= {peer.raddr.port for peer in process.net_connections("inet") if peer.raddr}
        except psutil.Error:
            continue
        time.sleep(0.02)
    return seen

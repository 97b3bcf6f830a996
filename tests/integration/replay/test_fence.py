"""A replay of everything causes nothing outside: seen from the sockets, not from the code."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest

from tests.integration.replay.world import Run, World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

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


def test_a_replay_of_everything_calls_only_the_three_servers(world: World) -> None:
    endpoints = world.stack.endpoints
    postgres = urlsplit(endpoints.postgres_reader_dsn).port
    clickhouse = urlsplit(endpoints.clickhouse_url).port
    kafka = int(endpoints.kafka_bootstrap.rsplit(":", 1)[1])
    with listening() as outsiders:
        told = {
            variable: f"http://127.0.0.1:{outsiders[name].port}"
            for name, variables in OUTSIDERS.items()
            for variable in variables
        }
        run = world.start("--json", **told)
        seen = ports_called(run)
        assert run.finish() == 0, run.said
        assert {
            name: outsider.connections for name, outsider in outsiders.items()
        } == dict.fromkeys(OUTSIDERS, 0)
    assert seen == {postgres, clickhouse, kafka}

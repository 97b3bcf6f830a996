"""A simulator for tests: a process of its own on a port of its own, and a receiver of webhooks."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import stripe

from stack.ports import lend_port
from stack.settings import HOST
from tests.waiting import wait_until

KEY = "sk_test_0123456789abcdef"
SECRET = "whsec_0123456789abcdef"
ANSWER_SECONDS = 30.0


@dataclass
class Simulator:
    """A simulator that a test may kill; its books stay in `home`."""

    home: Path
    port: int = field(default_factory=lend_port)
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PURSER_")},
            "PURSER_HOME": str(self.home),
            "PURSER_SIMULATOR_URL": self.url,
            "PURSER_STRIPE_API_KEY": KEY,
            "PURSER_STRIPE_WEBHOOK_SECRET": SECRET,
            **self.settings,
        }
        process = subprocess.Popen([sys.executable, "-m", "simulators.main"], env=environment)
        self.process = process

        def answers() -> bool:
            assert process.poll() is None, f"the simulator ended with {process.returncode}"
            with suppress(URLError, ConnectionError):
                return bool(self.get("/health")["status"] == "healthy")
            return False

        wait_until(answers, "the simulator answers", poll_seconds=0.02)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop it gently; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(ANSWER_SECONDS)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of a path that is ours."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(
            self.url + path, method=method, data=None if body is None else raw,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    def get(self, path: str) -> Any:
        """JSON of a path that is ours."""
        with urlopen(self.url + path, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        """Text of a path that is ours."""
        with urlopen(self.url + path, timeout=ANSWER_SECONDS) as answer:
            return str(answer.read().decode())

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        status, answer = self.ask("POST", "/_simulator/clock", {"advance_seconds": seconds})
        assert status == 200, answer

    def books(self, currency: str = "EUR") -> dict[str, Any]:
        """Sums of a currency; the books are without contradiction."""
        books = self.get("/_simulator/books")
        assert books["differences"] == []
        return dict(books["currencies"].get(currency, {}))

    def client(self, *, retries: int = 0, **options: Any) -> stripe.StripeClient:
        """The official SDK, with nothing changed but where it calls."""
        return stripe.StripeClient(
            KEY, base_addresses={"api": self.url}, max_network_retries=retries, **options
        )


@contextmanager
def running(home: Path, **settings: str) -> Iterator[Simulator]:
    """A simulator until the end of the block."""
    simulator = Simulator(home, settings=settings)
    simulator.start()
    try:
        yield simulator
    finally:
        simulator.kill()


@dataclass
class Receiver:
    """Takes webhooks and remembers them; `status` is what it answers."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    taking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What came, in order of arrival."""
        return [json.loads(body) for body in list(self.bodies)]

    def types(self) -> list[str]:
        """The types of what came."""
        return [event["type"] for event in self.events]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A server that takes webhooks until the end of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.status  # a test may change it meanwhile
            if status == 200:
                with receiver.taking:  # a body and its signature have the same place
                    receiver.signatures.append(self.headers["Stripe-Signature"])
                    receiver.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    receiver.url = f"http://{HOST}:{server.server_port}/webhooks"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Stripe's own mock, which checks every parameter against the description of Stripe's API.

It is written in Go and keeps nothing. It is built once, into `build/clients`; machines without Go
cannot run it.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSION: Final = "v0.203.0"
MODULE: Final = f"github.com/stripe/stripe-mock@{VERSION}"
CACHE: Final = Path(__file__).parents[1] / "build" / "clients"
INSTALL_SECONDS: Final = 280.0
START_SECONDS: Final = 30.0
NEEDS: Final = "stripe-mock is built by Go, which this machine does not have"


def available() -> bool:
    """Whether this machine can build it."""
    return shutil.which("go") is not None


@contextmanager
def running() -> Iterator[str]:
    """Run it, and yield the base address of its API."""
    port = _free_port()
    command = [str(_installed()), "-http-port", str(port), "-https-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _installed() -> Path:
    folder = CACHE / f"stripe-mock-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "stripe-mock.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stripe-mock").exists():
            environment = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local"}
            command = ("go", "install", MODULE)
            subprocess.run(command, env=environment, timeout=INSTALL_SECONDS, check=True)
    return folder / "stripe-mock"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"stripe-mock does not answer (exit status {process.poll()})")

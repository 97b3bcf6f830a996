"""Stripe's own mock, built once, and the OpenAPI description that it carries.

It checks parameters against the description and answers with examples; it keeps nothing.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from stack.ports import lend_port
from stack.settings import HOST
from tests.contract.clickhouse_clients.programs import Program, call
from tests.waiting import wait_until

FOLDER: Final = Path(__file__).parent / "mock"
MODULE: Final = "github.com/stripe/stripe-mock"
KEY: Final = "sk_test_123"


def available() -> bool:
    """Whether Go is on this machine."""
    return shutil.which("go") is not None


def _install(folder: Path) -> None:
    call(folder, "go", "build", "-o", "stripe-mock", MODULE)
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", MODULE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    description = Path(found.stdout.strip()) / "embedded" / "openapi" / "spec3.json"
    (folder / "spec3.json").write_bytes(description.read_bytes())


_PROGRAM = Program(folder=FOLDER, install=_install, command=lambda at: [str(at / "stripe-mock")])


def description() -> dict[str, Any]:
    """Stripe's OpenAPI description."""
    return dict(json.loads((_PROGRAM.installed() / "spec3.json").read_bytes()))


@contextmanager
def running() -> Iterator[str]:
    """The address of a mock until the end of the block."""
    port = lend_port()
    # Without an address for HTTPS it takes one fixed port, and a second mock ends.
    addresses = ["-http-addr", f"{HOST}:{port}", "-https-addr", f"{HOST}:0"]
    command = [*_PROGRAM.command(_PROGRAM.installed()), *addresses]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _listens(port), "stripe-mock listens", seconds=90)
            yield f"http://{HOST}:{port}"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0

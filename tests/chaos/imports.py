"""Imports of new history, one after the other: a round always has something to lose.

Each import is a slice of the real orders under keys of its own. `purser import` runs as a process
and is run again as an operator would when a server went away.
"""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from random import Random
from threading import Event as Flag

from schemas.errors import ServiceUnavailable
from schemas.events import NewEvent
from stack.layout import last_lines
from stack.native import Stack
from stack.settings import CHECKOUT
from writer.importing.history import decide_line

ORDERS = CHECKOUT / "data" / "online-retail-slice.jsonl.gz"
LINES_PER_IMPORT = 500
"""About 7,000 events: two transactions, so a kill can leave half of an import."""
IMPORT_SECONDS_MAX = 300.0
"""How long an import may take, however often it has to be run again."""
AGAIN_SECONDS = 1.0
PSP = "imported"
REJECTED = 1


class Imports:
    """Runs imports in the background; `on_imported` receives the events of each finished one."""

    def __init__(
        self, stack: Stack, seed: int, on_imported: Callable[[Sequence[NewEvent]], None]
    ) -> None:
        self.finished = 0
        self.events = 0
        self.runs = 0
        self._seed = seed
        self._on_imported = on_imported
        self._environment = {**os.environ, **stack.endpoints.environment()}
        self._file = stack.home.path / "history.jsonl"
        self._log = stack.home.log("import")
        self._stop = Flag()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="import")
        self._current: Future[None] | None = None

    def __enter__(self) -> "Imports":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._executor.shutdown()

    @property
    def running(self) -> bool:
        """Whether an import is under way."""
        return self._current is not None and not self._current.done()

    def go_on(self) -> None:
        """Begin the next import if none is under way; raises what the one before raised."""
        if not self.running:
            self.finish()
            self._current = self._executor.submit(self._import, self.finished)

    def finish(self) -> None:
        """Wait until the import under way is in.

        Raises ServiceUnavailable if it has not finished after `IMPORT_SECONDS_MAX`, or if it
        refuses a line.
        """
        if self._current is not None:
            self._current.result()

    def _import(self, number: int) -> None:
        lines = new_history(self._seed, number)
        self._file.write_bytes(b"\n".join(lines) + b"\n")
        self._log.unlink(missing_ok=True)  # or it would grow for hours
        deadline = time.monotonic() + IMPORT_SECONDS_MAX
        while (status := self._run(deadline)) != 0:
            if status == REJECTED or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"import {number + 1} ends with status {status} after {self.runs} runs in all;"
                    f" the end of {self._log}: {last_lines(self._log)}"
                )
            if self._stop.wait(AGAIN_SECONDS):
                return
        events = [event for line in lines for event in decide_line(line, psp=PSP)]
        self._on_imported(events)
        self.events += len(events)
        self.finished += 1

    def _run(self, deadline: float) -> int:
        """Run the command to its end; -9 if it had to be killed."""
        self.runs += 1
        command = [sys.executable, "-m", "cli.main", "import", "--psp", PSP, str(self._file)]
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                [*command, "--rejects", str(self._file.with_suffix(".rejected"))],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C does not reach it
            ) as process,
        ):
            while process.poll() is None:
                if self._stop.wait(0.1) or time.monotonic() > deadline:
                    process.kill()
            return process.returncode


def new_history(seed: int, number: int) -> list[bytes]:
    """The lines of import `number`: consecutive real orders under new keys and order ids."""
    orders = _orders()
    first = Random(f"{seed}-{number}").randrange(len(orders))
    chosen = [*orders[first:], *orders[:first]][:LINES_PER_IMPORT]
    return [_renamed(line, f"chaos-{seed}-{number}-") for line in chosen]


@cache
def _orders() -> list[bytes]:
    return gzip.decompress(ORDERS.read_bytes()).splitlines()


def _renamed(line: bytes, prefix: str) -> bytes:
    payment = json.loads(line)
    payment["idempotency_key"] = prefix + payment["idempotency_key"]
    for part in (*payment["orders"], *payment["events"]):
        if "order_id" in part:
            part["order_id"] = prefix + part["order_id"]
    return json.dumps(payment).encode()

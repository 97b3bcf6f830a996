"""`python -m tests.forked`: runs `purser` many times for the price of loading it once.

It reads one run a line as JSON and answers each with its exit status. A run is a fork that looks
like a process that has just begun: its descriptors are as the run says, and Python's streams are
made from them as the interpreter makes them. It ends as a real process ends, by the interpreter's
own finalization.
"""

import asyncio
import gc
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, NoReturn

import typer

import cli.commands
from cli.main import main
from cli.verify_report import show
from operations.console import wide_console
from operations.verify import CheckResult, Report, Verdict

CLOSED, FULL, GONE, NULL = "closed", "full", "gone", "null"
"""What a descriptor may be, beside the name of a file."""

Run = Mapping[str, Any]
"""`arguments`, `streams` (one for each descriptor), `encoding`, `environment`, `work`."""


def _fail() -> NoReturn:
    raise RuntimeError("postgresql://purser:hunter2@db/x refuses, password='hunter3'")


def _hang_up() -> NoReturn:
    raise BrokenPipeError(32, "Broken pipe")


def _cancelled() -> NoReturn:
    raise asyncio.CancelledError


def _end_of_input() -> NoReturn:
    raise EOFError


def _answer() -> None:
    """An answer with all the signs that a report of verify may have."""
    found: Any = {"proves": "all", "compared": 9, "differences_at_least": True}
    checks = [
        CheckResult(name="first", verdict=Verdict.EQUAL, **found),
        CheckResult(name="second", verdict=Verdict.DIVERGED, differences=3, note="ä…", **found),
    ]
    show(Report(verdict=Verdict.DIVERGED, checks=checks), wide_console())


class _Left:
    """Something that a signal meets while it is cleared away."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def _interrupted_while_clearing() -> None:
    left = _Left()
    del left
    signal.pause()


def _fail_in_thread() -> None:
    thread = Thread(target=_fail)
    thread.start()
    thread.join()


def _ask() -> None:
    typer.confirm("Sure?", err=True)


def _signalled(number: int) -> Callable[[], None]:
    def work() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    return work


WORK: Mapping[str, Callable[[], None]] = {
    "answers": _answer,
    "is interrupted in a destructor": _interrupted_while_clearing,
    "fails in a thread": _fail_in_thread,
    "asks": _ask,
    "fails": _fail,
    "loses its server": _hang_up,
    "is cancelled": _cancelled,
    "reads past an end": _end_of_input,
    "SIGINT": _signalled(signal.SIGINT),
    "SIGTERM": _signalled(signal.SIGTERM),
    "SIGHUP": _signalled(signal.SIGHUP),
}
"""What every command does instead of its work."""


def replace_work(app: typer.Typer, work: Callable[[], None]) -> None:
    """Give every command of the app this work, and no options."""
    for command in app.registered_commands:
        command.name = command.name or str(command.callback.__name__)  # type: ignore[union-attr]
        command.callback = work
    for group in app.registered_groups:
        assert group.typer_instance is not None
        replace_work(group.typer_instance, work)


def _descriptor(number: int, what: str) -> None:
    if what == CLOSED:
        os.close(number)
        return
    if what == GONE:
        reads, opened = os.pipe()
        os.close(reads)
    elif number == 0:
        opened = os.open(os.devnull if what == NULL else what, os.O_RDONLY)
    else:
        path = {FULL: "/dev/full", NULL: os.devnull}.get(what, what)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(opened, number)
    os.close(opened)


def _stream(number: int, what: str, encoding: str) -> Any:
    if what == CLOSED:
        return None
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    if number == 0:
        return io.TextIOWrapper(io.BufferedReader(raw), encoding=encoding)
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=number == 2
    )


def become(run: Run) -> None:
    """Make this process the run, up to its first statement."""
    for number, what in enumerate(run["streams"]):
        _descriptor(number, what)
    made = [_stream(number, what, run["encoding"]) for number, what in enumerate(run["streams"])]
    sys.stdin, sys.stdout, sys.stderr = made
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = made  # type: ignore[misc]
    os.environ.update(run["environment"])
    sys.argv = ["purser", *run["arguments"]]
    if run["work"]:
        replace_work(cli.commands.app, WORK[run["work"]])


def serve() -> None:
    """Fork for every line; in a fork it returns, and the caller begins."""
    importlib.import_module("typer.rich_utils")  # else each fork loads it to show its help
    gc.freeze()
    orders, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.dup(1)
    for line in orders:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    sys.exit()


if __name__ == "__main__":
    # Whoever runs the tests may ignore them, as nohup does; then nothing would end a run.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    serve()
    main()

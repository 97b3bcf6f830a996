"""Stacks for tests: an empty one to start servers in, and a whole one for tests that kill servers.

Each lives in a folder and on ports that nobody else uses, and is removed at the end.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operations.bring_up import bring_up
from operations.own_stack import alone
from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings

QUIET = {"PURSER_DEBEZIUM_POLL_SECONDS": "0.2"}
"""Debezium looks for new rows twenty times a second otherwise. Several stacks stand side by side,
and most of the time no test uses them."""


@contextmanager
def quiet(**environment: str) -> Iterator[None]:
    """What is started in the body gets `QUIET`, and these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUIET | environment).items():
            patch.setenv(name, value)
        yield


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that PostgreSQL can reach, which runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="purser-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def stack_in(home: Path, **settings: object) -> Iterator[Stack]:
    """A stack in this folder, of which nothing runs yet; nothing outside of it is used."""
    with alone(), lend_port_base() as port_base:
        stack = Stack(
            StackSettings(home=home, port_base=port_base, **settings),  # type: ignore[arg-type]
            say=print,
        )
        try:
            yield stack
        finally:
            stack.destroy()


@contextmanager
def empty_stack() -> Iterator[Stack]:
    """A stack of which nothing runs yet."""
    with reachable_folder() as home, stack_in(home) as stack:
        yield stack


@contextmanager
def whole_stack(**environment: str) -> Iterator[Stack]:
    """Servers, connector and workers for tests that kill them or change their tables.

    The workers get these variables.
    """
    with empty_stack() as stack:
        with quiet(**environment):
            bring_up(stack, print)
        yield stack

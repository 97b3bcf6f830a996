"""A whole stack for tests that kill its servers or change its tables: nobody else uses it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operations.bring_up import bring_up
from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings


@contextmanager
def whole_stack() -> Iterator[Stack]:
    """Servers, connector and workers in a folder and on ports of their own, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="purser-"))
    home.chmod(0o711)  # PostgreSQL runs as another user and has to reach its folder
    try:
        with lend_port_base() as port_base:
            stack = Stack(StackSettings(home=home, port_base=port_base), say=print)
            try:
                bring_up(stack, print)
                yield stack
            finally:
                stack.destroy()
    finally:
        shutil.rmtree(home, ignore_errors=True)

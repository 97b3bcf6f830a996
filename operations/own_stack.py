"""A temporary local stack for the demo and the benchmarks, separate from that of `purser up`."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from operations.console import say
from stack.native import Stack
from stack.ports import is_free, lend_port_base
from stack.settings import StackSettings
from stack.topology import Port


@contextmanager
def own_stack(name: str, *, keep: bool = False) -> Iterator[Stack]:
    """A stack in the folder `name` of PURSER_HOME, removed at the end, also after an error.

    With `keep` it stays up if all went well. The remains of an earlier one are removed first.
    """
    settings = StackSettings.load()
    home = settings.home / name
    Stack(
        settings.model_copy(update={"home": home}), say
    ).destroy()  # of an earlier run, killed or kept
    with _port_base(settings) as port_base:
        own = settings.model_copy(update={"home": home, "port_base": port_base})
        stack = Stack(own, say)
        with _ended_by_signals():
            try:
                yield stack
            except BaseException:
                keep = False
                raise
            finally:
                if not keep:
                    say("cleaning up")
                    stack.destroy()
                    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _port_base(settings: StackSettings) -> Iterator[int]:
    """The configured ports if they are free, else others."""
    if all(is_free(settings.port(port)) for port in Port):
        yield settings.port_base
        return
    with lend_port_base() as port_base:
        say(f"ports from {settings.port_base} on are in use; using those from {port_base} on")
        yield port_base


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP clean up as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

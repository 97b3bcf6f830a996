"""A temporary local stack for the demo and the benchmarks, separate from that of `purser up`."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operations.console import say
from schemas.errors import ConfigurationError
from schemas.runtime import SIGNALS
from stack.endpoints import OUTSIDE
from stack.native import Stack
from stack.ports import is_free, lend_port_base
from stack.settings import StackSettings
from stack.topology import Port


@contextmanager
def own_stack(name: str, *, keep: bool = False) -> Iterator[Stack]:
    """A stack in the folder `name` of PURSER_HOME, removed at the end, also after an error.

    With `keep` it stays up if all went well. The remains of an earlier one are removed first.
    It is alone: it buys at its own simulator and takes its own tokens, whatever the environment
    says of others.

    Raises ConfigurationError if another process uses that folder, or if it cannot be written.
    """
    settings = StackSettings.load()
    home = settings.home / name
    with _lock(home), alone():
        # What an earlier run left, killed or kept.
        Stack(settings.model_copy(update={"home": home}), say).destroy()
        with _port_base(settings) as port_base:
            stack = Stack(settings.model_copy(update={"home": home, "port_base": port_base}), say)
            try:
                yield stack
            except BaseException:
                keep = False
                raise
            finally:
                if not keep:
                    with _undisturbed():
                        say("cleaning up")
                        stack.destroy()
                        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def alone() -> Iterator[None]:
    """Take away meanwhile what would make the programs of a new stack use something else.

    Every command has the addresses of the stack of `purser up` in its environment, and the shell
    may name the real Stripe.
    """
    before = {name: os.environ.pop(name) for name in OUTSIDE if name in os.environ}
    try:
        yield
    finally:
        for name in OUTSIDE:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore signals meanwhile: a second Ctrl-C must not leave servers running."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Allow one process at a time; the kernel frees a dead process's lock."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.with_name(f"{home.name}.lock").open("a")
    except OSError as error:
        raise ConfigurationError(
            f"PURSER_HOME: cannot write in {home.parent} ({error.strerror}); set PURSER_HOME to a"
            " writable folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"PURSER_HOME: another process uses the stack in {home}; wait until it has ended,"
                " or set PURSER_HOME to another folder"
            ) from None
        yield


@contextmanager
def _port_base(settings: StackSettings) -> Iterator[int]:
    """The configured ports if they are free, else others."""
    if all(is_free(settings.port(port)) for port in Port):
        yield settings.port_base
        return
    with lend_port_base() as port_base:
        say(f"ports from {settings.port_base} on are in use; using those from {port_base} on")
        yield port_base

"""A disk without space under traffic: nothing is lost, and all comes back when there is space."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.survival import Acknowledged, verify_stack, wait_all_ready
from cli.status import report
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.bring_up import bring_up
from operations.health import LoudState
from stack import disk, supervisord
from stack.native import Stack
from tests.waiting import throughout, wait_until
from tests.whole_stack import quiet, stack_in
from writer.append import open_writer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DISK_MEGABYTES = 900
CHUNK = bytes(256 * 1024)
FULL_SECONDS = 15.0
BACK_SECONDS = 150.0
"""The goal is a minute (docs/how-to/disk-full.md says what was measured); tests share the cores."""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own in memory, which only root may mount."""
    with tempfile.TemporaryDirectory(prefix="purser-disk-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user
        size = f"size={DISK_MEGABYTES}m,mode=711"
        mount = ["mount", "-t", "tmpfs", "-o", size, "purser-test", folder]
        mounted = subprocess.run(mount, check=False)
        if mounted.returncode and os.geteuid():
            pytest.skip("mounting a small disk needs root")
        mounted.check_returncode()
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def ballast(folder: Path) -> Iterator[None]:
    """Fill the disk to the last byte, and keep it full while servers give space back."""
    file = folder / "ballast"
    try:
        for _ in throughout(FULL_SECONDS):
            fill(file)
        yield
    finally:
        file.unlink()


def fill(file: Path) -> None:
    """Append until there is no space."""
    with file.open("ab", buffering=0) as stream, suppress(OSError):
        while stream.write(CHUNK):
            pass


def test_servers_stop_without_loss_and_come_back_by_themselves(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "FREE_BYTES_MINIMUM", 0)
    with stack_in(small_disk / "home", disk_low_megabytes=8) as stack:
        with quiet():
            bring_up(stack, print)
        manager = stack.pid(supervisord.NAME)
        acknowledged = Acknowledged()
        with open_writer(stack.endpoints.postgres_dsn) as writer:
            market = Marketplace(7, datetime.now(UTC), MarketplaceSettings(payments_per_second=10))
            steps = market.steps(86_400)
            traffic = Traffic(writer, steps, on_appended=acknowledged.add)
            finish = run_in_background(traffic)
            try:
                wait_until(lambda: len(acknowledged) > 50, "traffic flows")
                with ballast(small_disk):
                    assert_status_says_disk(stack)
                    before = len(acknowledged)
                wait_all_ready(stack)
                wait_until(
                    lambda: len(acknowledged) > before + 50,
                    "traffic flows again",
                    seconds=BACK_SECONDS,
                )
            finally:
                sent = finish()
        found = verify_stack(stack)
        assert found.exit_status == 0, found.to_json()
        assert acknowledged.presence(stack.endpoints.postgres_reader_dsn).lost == 0
        assert len(acknowledged) == sent.events
        assert stack.pid(supervisord.NAME) == manager
        wait_until(lambda: not report(stack).problems, "status is healthy")


def assert_status_says_disk(stack: Stack) -> None:
    """The first of the problems is the disk, and servers are among the others."""
    found = report(stack)
    assert found.loud[0].state is LoudState.DISK
    assert "FULL" in found.loud[0].text
    assert len(found.loud) > 1, "nothing noticed that the disk is full"

"""Disk space: low is told before it is full, and a full disk does not end the process manager."""

import shutil
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import pytest
from supervisor import process
from supervisor.loggers import LevelsByName, Logger
from supervisor.states import ProcessStates

from stack.disk import Disk, disks_of
from stack.process_manager import PAUSE_SECONDS_MOST, Log, Program

MEGABYTE = 1024 * 1024
FOLDER = Path("/data")


@pytest.mark.parametrize(
    ("free_megabytes", "word"),
    [(0, "FULL"), (63, "FULL"), (64, "filling up"), (2047, "filling up"), (2048, None)],
)
def test_low_space_is_a_problem_and_no_space_another(free_megabytes: int, word: str | None) -> None:
    problem = Disk(
        folder=FOLDER, free_bytes=free_megabytes * MEGABYTE, low_bytes=2048 * MEGABYTE
    ).problem
    assert (word in problem and "disk" in problem) if word and problem else problem is word


def test_each_disk_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 3, 7))
    (tmp_path / "within").mkdir()
    found = disks_of((tmp_path, tmp_path / "within", tmp_path / "missing"), low_megabytes=1)
    assert found == (Disk(folder=tmp_path, free_bytes=7, low_bytes=MEGABYTE),)


def _logger(file: Path, most_bytes: int) -> Logger:
    log = Log(str(file), maxBytes=most_bytes, backupCount=1)
    log.setFormat("%(message)s")
    return Logger(LevelsByName.INFO, [log])


def test_a_line_that_finds_no_space_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    logger = _logger(Path("/dev/full"), most_bytes=0)
    for number in range(10_000):  # beyond every buffer
        logger.info(f"line {number}\n")
    with suppress(OSError):
        logger.close()
    assert capfd.readouterr() == ("", "")


def test_a_log_that_cannot_be_renewed_is_opened_again_once_that_is_possible(
    tmp_path: Path,
) -> None:
    folder, aside = tmp_path / "logs", tmp_path / "aside"
    folder.mkdir()
    logger = _logger(folder / "a.log", most_bytes=100)
    folder.rename(aside)
    for _ in range(3):
        logger.info("x" * 101)  # too long a file: a new one is needed, and none can be made
    aside.rename(folder)
    logger.info("found no file\n")
    logger.info("here again\n")
    logger.close()
    logs = [log.read_text() for log in folder.iterdir()]
    assert any("here again" in log for log in logs), logs


def test_a_program_is_started_again_soon_however_often_it_has_failed() -> None:
    program = Program.__new__(Program)
    program.state, program.backoff, program.event_map = ProcessStates.STARTING, 5000, {}
    program.change_state(ProcessStates.BACKOFF)
    assert program.backoff == 5001
    assert program.delay <= time.time() + PAUSE_SECONDS_MOST
    assert issubclass(Program, process.Subprocess)

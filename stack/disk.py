"""Free space of the disks that hold a stack's data: enough to start, getting low, or none.

A server that finds no space stops or refuses, and loses nothing. supervisord tries again until
there is room.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError

MEGABYTE = 1024 * 1024
FREE_BYTES_MINIMUM = 2 * 1024**3
"""Needed to start: PostgreSQL's WAL, Kafka's segments and ClickHouse's parts."""
FULL_BYTES = 64 * MEGABYTE
"""With less than this some server finds no room for its next file: a WAL segment has 16 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that holds a folder; below `low_bytes` of free space it is a problem."""

    folder: Path
    free_bytes: int
    low_bytes: int

    @property
    def problem(self) -> str | None:
        """What to say about it; None if there is enough space."""
        megabytes = self.free_bytes // MEGABYTE
        if self.free_bytes < FULL_BYTES:
            return (
                f"the disk of {self.folder} is FULL ({megabytes} MB free): servers stop or refuse"
                " to write, and nothing is lost. Free some space; they come back by themselves"
            )
        if self.free_bytes < self.low_bytes:
            return (
                f"the disk of {self.folder} is filling up: {megabytes:,} MB are free, which is less"
                f" than PURSER_DISK_LOW_MEGABYTES ({self.low_bytes // MEGABYTE:,}). Free some space"
                " before the servers stop"
            )
        return None


def disks_of(folders: Iterable[Path], low_megabytes: int) -> tuple[Disk, ...]:
    """The disks of the folders that exist, each disk once."""
    found: dict[int, Disk] = {}
    for folder in folders:
        if folder.exists():
            disk = Disk(
                folder=folder,
                free_bytes=shutil.disk_usage(folder).free,
                low_bytes=low_megabytes * MEGABYTE,
            )
            found.setdefault(folder.stat().st_dev, disk)
    return tuple(found.values())


def check_free_space(folder: Path, setting: str) -> None:
    """Raise ConfigurationError if the disk of the existing `folder` has too little free space."""
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MINIMUM:
        raise ConfigurationError(
            f"{setting}: {folder} has {free / 1024**3:.1f} GB free and"
            f" {FREE_BYTES_MINIMUM / 1024**3:.0f} GB are needed; free some space or set {setting}"
            " to a folder on another disk"
        )

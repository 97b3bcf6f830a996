"""The folders and files of a stack's home, and the checks before anything is put there."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError

FREE_BYTES_MINIMUM = 2 * 1024**3  # PostgreSQL's WAL, Kafka's segments and ClickHouse's parts
FREE_BYTES_ADVICE = "free some space or set {setting} to a folder on another disk"


@dataclass(frozen=True, slots=True)
class Home:
    """Names of everything in a stack's home; nothing outside this class spells a path in it."""

    path: Path

    @property
    def secrets_file(self) -> Path:
        return self.path / "secrets.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def ports_file(self) -> Path:
        return self.path / "ports.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """What is running: launch specifications (they hold secrets) and records of processes."""
        return self.path / "run"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def specification(self, name: str) -> Path:
        return self.run / f"{name}.launch.json"

    def record(self, name: str) -> Path:
        return self.run / f"{name}.process.json"

    def create(self) -> None:
        """Make the home and its folders.

        Raises ConfigurationError when that is impossible or the home is another user's.
        """
        # As root, PostgreSQL runs as another user and must pass through the home.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True)  # another `up` may be as fast
                self.path.chmod(mode)
            for folder in (self.logs, self.run):
                folder.mkdir(exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.run):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_HOME: cannot write in {self.path} ({error.strerror}); set PURSER_HOME"
                " to a folder that you may write in"
            ) from error
        self.check_owner()

    def check_owner(self) -> bool:
        """Whether there is a home; raises ConfigurationError when it is another user's."""
        try:
            owner = self.path.stat().st_uid
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_HOME: cannot look into {self.path} ({error.strerror}); run as its owner or"
                " set PURSER_HOME to a folder of yours"
            ) from error
        if owner != os.geteuid():
            raise ConfigurationError(
                f"PURSER_HOME: {self.path} belongs to user id {owner}, you are {os.geteuid()};"
                " run as its owner or set PURSER_HOME to a folder of yours"
            )
        return True


def check_free_space(folder: Path, setting: str) -> None:
    """Raise ConfigurationError when the disk of `folder` (which exists) is too full to begin."""
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MINIMUM:
        raise ConfigurationError(
            f"{setting}: {folder} has {free / 1024**3:.1f} GB free and"
            f" {FREE_BYTES_MINIMUM / 1024**3:.0f} GB are needed;"
            f" {FREE_BYTES_ADVICE.format(setting=setting)}"
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, wholly or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def last_lines(path: Path, count: int = 5, bytes_most: int = 8192) -> str:
    """The last lines of a log on one line, or a remark that there are none."""
    if not path.exists():
        return "(no log)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - bytes_most))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return " | ".join(line.strip() for line in lines[-count:]) or "(empty log)"

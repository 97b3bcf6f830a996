"""The folders and files of a stack's home, and the checks before anything is written there."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Home:
    """The paths in a stack's home; no code outside this class builds such a path."""

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
    def keys_file(self) -> Path:
        """The public keys of this stack's tokens (JWKS)."""
        return self.path / "jwks.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Launch specifications (they contain secrets) and records of running processes."""
        return self.path / "run"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def specification(self, name: str) -> Path:
        return self.run / f"{name}.launch.json"

    def record(self, name: str) -> Path:
        return self.run / f"{name}.process.json"

    def create(self) -> None:
        """Create the home and its folders.

        Raises ConfigurationError if that is impossible or if the home belongs to another user.
        """
        # Under root, PostgreSQL runs as another user, who must be able to enter the home.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            if not self.path.exists():
                self.path.mkdir(
                    parents=True, exist_ok=True
                )  # another `up` may create it at the same time
                self.path.chmod(mode)
            for folder in (self.logs, self.run):
                folder.mkdir(exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.run):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_HOME: cannot write in {self.path} ({error.strerror}); set PURSER_HOME"
                " to a writable folder"
            ) from error
        self.check_owner()

    def check_owner(self) -> bool:
        """Whether the home exists; raises ConfigurationError if it belongs to another user."""
        try:
            owner = self.path.stat().st_uid
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_HOME: cannot read {self.path} ({error.strerror}); run as its owner or"
                " set PURSER_HOME to a folder of yours"
            ) from error
        if owner != os.geteuid():
            raise ConfigurationError(
                f"PURSER_HOME: {self.path} belongs to user id {owner}, you are {os.geteuid()};"
                " run as its owner or set PURSER_HOME to a folder of yours"
            )
        return True


def write_private(path: Path, text: str) -> None:
    """Atomically write a file that only its owner may read."""
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
    """The last lines of a log joined on one line, or a note that there are none."""
    if not path.exists():
        return "(no log)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - bytes_most))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return " | ".join(line.strip() for line in lines[-count:]) or "(empty log)"

"""Programs of other languages, such as official clients of ClickHouse, fetched and built once.

What is fetched lies under `build/clients`, in a folder named by the hash of what it is made from.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from stack.java import find_java, find_maven

SOURCES: Final = Path(__file__).parent
CACHE: Final = SOURCES.parents[2] / "build" / "clients"
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 3.0
INSTALL_SECONDS: Final = 280.0
RUN_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`install` fills a folder, `command` is how to run what it holds."""

    folder: Path
    install: Callable[[Path], None]
    command: Callable[[Path], list[str]]

    def run(self, arguments: list[str]) -> dict[str, str]:
        """Return what it says of each check: `ok`, or what went wrong."""
        ended = subprocess.run(
            [*self.command(self.installed()), *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        said = dict(line.partition(" ")[::2] for line in ended.stdout.splitlines())
        if ended.returncode != 0:
            said["the program"] = ended.stderr
        return said

    def installed(self) -> Path:
        """The folder that it is installed in; it is installed if it is not."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            digest.update(path.read_bytes())
        folder = CACHE / f"{self.folder.name}-{digest.hexdigest()[:16]}"
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{self.folder.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                self._install_into(folder)
        return folder

    def _install_into(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as partial:
            made = Path(partial) / "made"
            shutil.copytree(self.folder, made)
            retrying = Retrying(
                retry=retry_if_exception_type(subprocess.SubprocessError),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_fixed(PAUSE_SECONDS),
                reraise=True,
            )
            retrying(self.install, made)
            made.rename(folder)


def call(folder: Path, *command: str) -> None:
    """Run a command of an installation in its folder."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    subprocess.run(command, cwd=folder, env=environment, timeout=INSTALL_SECONDS, check=True)


def _maven(folder: Path) -> None:
    goal = "dependency:copy-dependencies"
    call(folder, str(find_maven()), "-B", "-q", "-C", goal, f"-DoutputDirectory={folder}/lib")


def npm(folder: Path) -> None:
    """Install what a package.json names."""
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent")
    call(folder, "npm", "install", *quiet)


def programs() -> dict[str, Program]:
    """Those whose language is on this machine; Java is always, the stack needs it."""
    found = {
        "java": Program(
            folder=SOURCES / "java",
            install=_maven,
            command=lambda at: [str(find_java()), "-cp", f"{at}/lib/*", f"{at}/Jdbc.java"],
        )
    }
    if shutil.which("node") and shutil.which("npm"):
        found["node"] = Program(
            folder=SOURCES / "node",
            install=npm,
            command=lambda at: ["node", str(at / "client.js")],
        )
    if shutil.which("go"):
        found["go"] = Program(
            folder=SOURCES / "go",
            install=lambda at: call(at, "go", "build", "-o", "client", "."),
            command=lambda at: [str(at / "client")],
        )
    return found

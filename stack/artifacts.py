"""Kafka, Kafka Connect and Debezium: fetched by Maven once, shared by all homes of a checkout.

A set of jars is named by the hash of pom.xml and appears with one rename, whole or not at all. An
interrupted fetch leaves only a folder that the next fetch removes. Concurrent fetches wait for each
other.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.runtime import entry_point
from stack.disk import check_free_space
from stack.java import find_maven
from stack.settings import StackSettings

POM = Path(__file__).with_name("pom.xml")
FETCH_ATTEMPTS = 3
FETCH_PAUSE_SECONDS = 3.0
FETCH_SECONDS = 1800.0
PARTIAL_PREFIX = ".partial-"


@dataclass(frozen=True, slots=True)
class Artifacts:
    """A complete set: `lib` is the class path of both servers, `plugins` has Connect's plugins."""

    lib: Path
    plugins: Path


def artifacts_folder(cache: Path) -> Path:
    """The folder for the set that the current pom.xml describes; it may not exist yet."""
    return cache / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def ensure_artifacts(cache: Path, say: Callable[[str], None]) -> Artifacts:
    """The set of jars, fetched if it does not exist yet.

    Raises ConfigurationError if Maven is missing or the cache cannot be written, and
    ServiceUnavailable if the download keeps failing.
    """
    folder = artifacts_folder(cache)
    if not folder.exists():
        maven = find_maven()
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _exclusive(cache / "lock"):
                if not folder.exists():
                    say("Fetching Kafka, Kafka Connect and Debezium (70 MB, once)")
                    _fetch(maven, folder)
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_CACHE: cannot write in {cache} ({error.strerror}); set PURSER_CACHE to a"
                " writable folder"
            ) from error
    return Artifacts(lib=folder / "lib", plugins=folder / "plugins")


def _fetch(maven: Path, folder: Path) -> None:
    """Fetch into a folder beside the final one, then rename it (call it under the lock)."""
    for leftover in folder.parent.glob(f"{PARTIAL_PREFIX}*"):
        # Maven may outlive a killed parent and still write there; the next fetch removes that.
        shutil.rmtree(leftover, ignore_errors=True)
    check_free_space(folder.parent, "PURSER_CACHE")
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=PARTIAL_PREFIX))
    try:
        retrying = Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            stop=stop_after_attempt(FETCH_ATTEMPTS),
            wait=wait_fixed(FETCH_PAUSE_SECONDS),
            reraise=True,
        )
        retrying(_run_maven, maven, partial)
        if not any((partial / "lib").glob("*.jar")) or not any((partial / "plugins").iterdir()):
            raise ServiceUnavailable(f"Maven left no jars in {partial}; run it again")
        partial.chmod(0o755)
        # A shared cache must survive a crash of the machine, so sync contents before the rename.
        os.sync()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run_maven(maven: Path, folder: Path) -> None:
    command = [str(maven), "-B", "-q", "-C", "-f", str(POM), f"-Dfolder={folder}", "package"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceUnavailable(
            f"Maven did not finish within {FETCH_SECONDS:.0f} s; check the network, run it again"
        ) from error
    if answer.returncode != 0:
        lines = [line for line in answer.stdout.splitlines() if "ERROR" in line]
        reason = lines[0] if lines else (answer.stderr.strip() or f"status {answer.returncode}")
        raise ServiceUnavailable(
            f"Maven could not fetch the servers: {reason}; check the network and"
            " ~/.m2/settings.xml, then run it again"
        )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold this lock; the kernel releases it even if the process is killed."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


@entry_point
def main() -> None:
    """`python -m stack.artifacts`: fetch the jars in advance, as `make setup` does."""
    ensure_artifacts(StackSettings.load().cache, _tell)


if __name__ == "__main__":
    main()

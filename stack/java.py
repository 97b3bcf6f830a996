"""Finds the JDK and Maven that Kafka and Kafka Connect need, or reports which one is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from schemas.errors import ConfigurationError

JAVA_MAJOR_MINIMUM = 17
JAVA_ADVICE = (
    f"install a JDK {JAVA_MAJOR_MINIMUM} or newer (Debian: apt install openjdk-17-jdk-headless)"
    " and put it on the PATH, or set JAVA_HOME"
)
MAVEN_ADVICE = "install Maven (Debian: apt install maven) and put `mvn` on the PATH"
VERSION_SECONDS = 30.0


def find_java() -> Path:
    """The `java` of JAVA_HOME if that is set, else the one on the PATH.

    Raises ConfigurationError if there is none, if it does not run, or if it is too old.
    """
    java_home = os.environ.get("JAVA_HOME")
    if java_home:
        found = Path(java_home) / "bin" / "java"
        if not found.exists():
            raise ConfigurationError(f"JAVA_HOME: {found} does not exist; {JAVA_ADVICE}")
    else:
        on_path = shutil.which("java")
        if on_path is None:
            raise ConfigurationError(f"no JDK was found; {JAVA_ADVICE}")
        found = Path(on_path)
    major = java_major(found)
    if major < JAVA_MAJOR_MINIMUM:
        raise ConfigurationError(f"{found} is Java {major}; {JAVA_ADVICE}")
    return found


def java_major(java: Path) -> int:
    """The major version of a `java` command, 17 for "17.0.15" and 8 for "1.8.0"."""
    try:
        answer = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"{java} does not run ({error}); {JAVA_ADVICE}") from error
    return parse_java_major(answer.stderr + answer.stdout, java)


def parse_java_major(text: str, java: Path) -> int:
    """The major version in the output of `java -version`."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    if match is None:
        raise ConfigurationError(f"{java} does not print its version; {JAVA_ADVICE}")
    return int(match.group(1))


def find_maven() -> Path:
    """The `mvn` on the PATH; raises ConfigurationError if there is none."""
    found = shutil.which("mvn")
    if found is None:
        raise ConfigurationError(f"no Maven was found; {MAVEN_ADVICE}")
    return Path(found)

"""Details of an unexpected error: a line for the operator, the rest in a file, secrets in neither.

`schemas.runtime` imports it when such an error has happened.
"""

import os
import re
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

MESSAGE_SHOWN = 200
HIDDEN = "***"
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|KEY", re.IGNORECASE)
_IN_URL = re.compile(r"(://[^/\s:@'\"]*:)[^/\s@'\"]+@")
_IN_WORDS = re.compile(r"(?i)(password|passwd|secret|token)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&)]+")


def report(error: BaseException) -> str:
    """Write the details to a file; return one line that names the error and the file.

    The file is in the folder `logs` of PURSER_HOME or, where that cannot be written, in the folder
    for temporary files.
    """
    text = without_secrets("".join(traceback.format_exception(error)))
    message = " ".join(without_secrets(str(error)).split())[:MESSAGE_SHOWN]
    what = f"unexpected {type(error).__name__}" + (f": {message}" if message else "")
    for folder in (_logs, tempfile.gettempdir):
        try:
            return f"{what}; details in {_written(Path(folder()), text)}"
        except OSError:
            continue
    return f"{what}; its details cannot be written: neither PURSER_HOME nor TMPDIR is writable"


def without_secrets(text: str) -> str:
    """The text without passwords: those of the environment, and what looks like one."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _IN_URL.sub(rf"\g<1>{HIDDEN}@", text)
    return _IN_WORDS.sub(rf"\g<1>\g<2>{HIDDEN}", text)


def _secrets() -> set[str]:
    found = set()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            found.add(value)
        elif "://" in value:
            try:
                password = urlsplit(value).password or ""
            except ValueError:
                continue
            found |= {password, unquote(password)}
    return {secret for secret in found if len(secret) > 3}


def _logs() -> str:
    home = os.environ.get("PURSER_HOME") or Path(__file__).resolve().parent.parent / ".purser"
    folder = Path(home).expanduser() / "logs"
    if Path(home).expanduser().is_dir():  # only `purser up` makes a home
        folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder.absolute())


def _written(folder: Path, text: str) -> Path:
    """A new file that only its owner may read."""
    prefix = f"unexpected-{datetime.now(UTC):%Y%m%dT%H%M%S}-"
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".txt", dir=folder)
    os.close(descriptor)
    path = Path(name)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path

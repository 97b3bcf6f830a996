"""Details of an unexpected error: a line for the operator, the rest in a file, secrets in neither.

`schemas.runtime` imports it when such an error has happened.
"""

import os
import re
import tempfile
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

MESSAGE_SHOWN = 200
HIDDEN = "***"
KEPT = 20
"""How many files of details stay, for a program that fails and is started again and again."""
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|KEY", re.IGNORECASE)
_ADDRESS_NAME = re.compile(r"PURSER_\w+_(DSN|URL)")
_IN_URL = re.compile(r"(//[^/\s:@'\"]*:)[^/\s@'\"]+@")
_IN_WORDS = re.compile(
    r"(?i)(password|passwd|secret|token)(['\"]?\s*[=:]\s*)"
    r"(\\?'(?:[^'\\\n]|\\.)*'?|\\?\"(?:[^\"\\\n]|\\.)*\"?|[^\s'\",;&)]+)"
)


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
    secrets = _secrets()
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, secrets[secret])
    text = _IN_URL.sub(rf"\g<1>{HIDDEN}@", text)
    return _IN_WORDS.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    word, between, value = found.groups()
    quote = value[: len(value) - len(value.lstrip("\\'\""))]
    return f"{word}{between}{quote}{HIDDEN}{quote}"


def _secrets() -> dict[str, str]:
    """Secrets of the environment, and what is shown instead."""
    found = {}
    for name, value in os.environ.items():
        if _ADDRESS_NAME.fullmatch(name):
            found[value] = name
        elif _SECRET_NAME.search(name):
            found[value] = HIDDEN
        for password in _passwords(value):
            found.setdefault(password, HIDDEN)
    return {secret: shown for secret, shown in found.items() if len(secret) > 3}


def _passwords(value: str) -> set[str]:
    """Those in a URL or a connection string."""
    found = {words.strip("'\"") for _, _, words in _IN_WORDS.findall(value)}
    if "://" in value:
        with suppress(ValueError):
            password = urlsplit(value).password or ""
            found |= {password, unquote(password)}
    return found


def _logs() -> str:
    home = os.environ.get("PURSER_HOME") or Path(__file__).resolve().parent.parent / ".purser"
    folder = Path(home).expanduser() / "logs"
    if Path(home).expanduser().is_dir():  # only `purser up` makes a home
        folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder.absolute())


def _written(folder: Path, text: str) -> Path:
    """A new file that only its owner may read."""
    prefix = f"unexpected-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-"
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".txt", dir=folder)
    os.close(descriptor)
    path = Path(name)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    _drop_old(folder, path)
    return path


def _drop_old(folder: Path, newest: Path) -> None:
    """Keep the newest files of this user; their names begin with the time."""
    with suppress(OSError):  # another process may drop the same one
        others = sorted(
            file
            for file in folder.glob("unexpected-*-*.txt")
            if file != newest and file.stat().st_uid == os.getuid()
        )
        for file in others[: 1 - KEPT]:
            file.unlink(missing_ok=True)

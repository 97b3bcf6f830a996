"""Takes the server's passwords out of its environment, which any file function could read.

`/proc/self/environ` shows a process's environment as it was at exec, whatever is removed later. So
the server replaces itself once, keeping its process id, and hands the passwords over in a pipe.
"""

import json
import os
import sys
from typing import Final

_SECRETS: Final = {
    "PURSER_CLICKHOUSE_PASSWORD": "password",
    "PURSER_CLICKHOUSE_READER_PASSWORD": "reader_password",
}
_PIPE: Final = "PURSER_CLICKHOUSE_SECRETS_PIPE"


def take_secrets() -> dict[str, str]:
    """The passwords by field of `ServerSettings`; calls exec if the environment holds any."""
    number = os.environ.pop(_PIPE, "")
    if number:
        with os.fdopen(int(number), "r", encoding="utf-8", errors="surrogateescape") as pipe:
            return dict(json.load(pipe))
    secrets = {field: os.environ[name] for name, field in _SECRETS.items() if name in os.environ}
    if secrets:
        reader, writer = os.pipe()
        os.set_inheritable(reader, True)
        with os.fdopen(writer, "w", encoding="utf-8", errors="surrogateescape") as pipe:
            json.dump(secrets, pipe)
        environment = {name: text for name, text in os.environ.items() if name not in _SECRETS}
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**environment, _PIPE: str(reader)})
    return secrets

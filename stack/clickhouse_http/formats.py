"""The engine's formats: their names and the Content-Type of each, as the engine says them."""

import json
from typing import Final

from stack.clickhouse_http.connection import Connection
from stack.clickhouse_http.errors import Code, refusal

DEFAULT_OUTPUT_FORMAT: Final = "TabSeparated"
DEFAULT_INPUT_FORMAT: Final = "Values"
FILE_FORMATS: Final = frozenset({"Arrow", "Parquet", "ORC"})
"""Read from their end; from a file the engine need not hold them in memory."""
_PLAIN: Final = "text/plain; charset=UTF-8"


def check_format(name: str) -> str:
    """Return `name` if it is a possible format name; raises 73 otherwise."""
    if not name.isascii() or not name.isidentifier():
        raise refusal(Code.UNKNOWN_FORMAT, f"Unknown format {name!r}.")
    return name


class Formats:
    """What the answer's headers say of its format. A format's name has no case."""

    def __init__(self, connection: Connection) -> None:
        answer, _ = connection.run(
            "SELECT lower(name), name, content_type FROM system.formats", "JSONCompactEachRow"
        )
        rows = [json.loads(line) for line in answer.splitlines()]
        self._known = {lower: (name, content_type) for lower, name, content_type in rows}

    def headers(self, name: str | None) -> dict[str, str]:
        """Return the headers of an answer in this format; None is an answer without rows."""
        if name is None:
            return {"Content-Type": _PLAIN}
        known, content_type = self._known.get(name.lower(), (name, _PLAIN))
        return {"Content-Type": content_type, "X-ClickHouse-Format": known}

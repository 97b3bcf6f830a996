"""Marks: the comment at the end of each statement that says whose it is and under which id it runs.

chDB gives every statement an id of its own, and no way to name another. So a statement ends with a
comment that holds the client's id, the user, and a secret of the server. `system.processes` shows
the text of a running statement, and so all three. A client cannot write another's mark: it would
have to know the secret, and its own mark stands behind whatever it writes.
"""

import re
import secrets
from typing import Final

_PATTERN: Final = r"/\* query_id ([0-9a-f]*) user ([0-9a-f]*) statement [0-9a-f]{32} end \*/"
_MARK: Final = re.compile(r"\s?" + _PATTERN)
_AT_END: Final = f"'{_PATTERN}$'".replace("\\", "\\\\")
_OURS: Final = (
    r"'\\s*(INTO OUTFILE \'/dev/fd/[0-9]+\' APPEND"
    r"|FROM INFILE \'/dev/fd/[0-9]+\' COMPRESSION \'none\'|" + _AT_END[1:-1] + ")'"
)
"""What this server adds to a statement: where its rows go or come from, and the mark."""
_BEGIN, _END = "(/* processes */", "/* end of processes */)"
_ASKED: Final = r"'(?s)\\(/\\* processes \\*/.*?/\\* end of processes \\*/\\)'"

PROCESSES: Final = f"""(SELECT p.query_id AS engine_query_id, p.* REPLACE (
 unhex(extract(p.query, {_AT_END})) AS query_id,
 unhex(extract(p.query, {_AT_END})) AS initial_query_id,
 unhex(regexpExtract(p.query, {_AT_END}, 2)) AS user,
 replaceRegexpAll(replaceRegexpAll(p.query, {_OURS}, ''), {_ASKED}, 'system.processes') AS query)
 FROM system.processes AS p WHERE match(p.query, {_AT_END}))"""
"""`system.processes` as clients know it: their statements, ids, names and text.
`engine_query_id` is the engine's id. What this server asks the engine for itself is left out.
"""

SHOWN_PROCESSES: Final = f"{_BEGIN} SELECT * EXCEPT (engine_query_id) FROM {PROCESSES} {_END}"
"""What stands in a query in place of `system.processes`."""


def new_mark(user: str, query_id: str) -> str:
    """Return a comment that marks one statement: the only one with this mark."""
    return (
        f"/* query_id {query_id.encode('utf-8', 'surrogatepass').hex()}"
        f" user {user.encode('utf-8', 'surrogatepass').hex()}"
        f" statement {secrets.token_hex(16)} end */"
    )


def without_marks(text: str) -> str:
    """Return a text of the engine, such as an error, as it would be without marks."""
    return _MARK.sub("", text)

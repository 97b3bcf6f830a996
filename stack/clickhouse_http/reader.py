"""What the reader may run: each of its statements is checked before the engine runs it.

The engine has only one user, so a connection that serves the reader gives up every role except the
analyst's. Grants then deny it raw tables and writing; row policies hide the contents of system
tables. What neither covers is checked here by keywords and names: functions that read the server's
files or call other servers, settings that contain SQL or name a file, changes of roles.

The text that is checked is the engine's own spelling of the statement, without comments and with
all escapes resolved, and exactly that text runs. Everything not known to be harmless is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from stack.clickhouse_http.connection import Connection
from stack.clickhouse_http.errors import ClickHouseError, Code, refusal
from stack.clickhouse_http.statement import (
    Command,
    InsertData,
    Select,
    Statement,
    Token,
    parse,
    tokens_of,
)

_FIRST_WORDS: Final = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS", "SET", "USE"}
)
_STATE_WORDS: Final = frozenset({"SET", "USE"})
_FORBIDDEN_FUNCTION: Final = re.compile(r"(?i:file|eval|getServerSetting|logTrace)|ai[A-Z]\w*")
"""Functions that no grant covers. The bare name is refused, because as an argument it is a call."""
_FORBIDDEN_PAIRS: Final = frozenset(
    {("INTO", "OUTFILE"), ("FROM", "INFILE"), ("PARALLEL", "WITH")}
    | {("SET", word) for word in ("ROLE", "DEFAULT", "TRANSACTION")}
)
_HARMLESS_TABLE_FUNCTIONS: Final = frozenset(
    {"format", "generaterandom", "generateseries", "generate_series", "merge", "null", "numbers"}
    | {"numbers_mt", "primes", "values", "view", "zeros", "zeros_mt"}
)
_HARMLESS_SETTING: Final = re.compile(
    r"max_\w+|\w+_overflow_mode|output_format_(?!schema$)\w+|format_(?:csv|tsv)_\w+"
    r"|date_time_(?:in|out)put_format|join_(?:algorithm|use_nulls|default_strictness)"
    r"|group_by_use_nulls|aggregate_functions_null_for_empty|transform_null_in|cast_keep_nullable"
    r"|union_default_mode|extremes|final|limit|offset|session_timezone|log_comment|priority"
    r"|optimize_(?:read|aggregation)_in_order|cast_string_to_dynamic_use_inference"
)
_SETTINGS_WORDS: Final = frozenset({"SET", "SETTINGS"})
_ENDS_OF_SETTINGS: Final = frozenset({"FORMAT", "UNION", "EXCEPT", "INTERSECT"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_SPELL: Final = "SELECT formatQuerySingleLine({text:String})"
_SCOPE: Final = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\. \()", re.DOTALL)
"""The engine's addition to errors about our statement, as opposed to the reader's."""
_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0", "\b": r"\b", "\f": r"\f"}
)
"""How the value of a query parameter is escaped."""


class Judge:
    """Checks statements; the `Connection`s it uses are the server's, never the reader's."""

    def __init__(self, connection: Connection) -> None:
        """Ask the engine for its table functions, so that new ones are refused."""
        answer, _ = connection.run("SELECT lower(name) FROM system.table_functions")
        self._forbidden_calls = frozenset(answer.decode().split()) - _HARMLESS_TABLE_FUNCTIONS

    def judge(
        self, connection: Connection, statement: Statement, parameters: Mapping[str, str]
    ) -> Select | Command:
        """Return the statement to run instead of this one: the same in the engine's spelling.

        Raises `ClickHouseError`: 62 if it is not exactly one statement, 164 for a setting, 497 for
        anything else that the reader may not do.
        """
        if isinstance(statement, InsertData):
            raise _denied("write")
        spelled = _spelled(connection, statement.text)
        tokens = tokens_of(spelled)
        self._check_words(tokens)
        check_settings(_settings_named(tokens))
        _check_identifiers(tokens, parameters)
        judged = parse(spelled)
        if isinstance(judged, InsertData) or (
            isinstance(judged, Command) and judged.verb not in _STATE_WORDS
        ):
            raise _denied("write")
        return judged

    def _check_words(self, tokens: Sequence[Token]) -> None:
        first = next((token.upper for token in tokens if token.text != "("), "")
        if first not in _FIRST_WORDS:
            raise _denied(f"use {first}")
        for token, following in pairwise([*tokens, tokens[-1]]):
            if (token.upper, following.upper) in _FORBIDDEN_PAIRS:
                raise _denied(f"use {token.upper} {following.upper}")
            called = following.text == "(" and token.name.lower() in self._forbidden_calls
            if called or _FORBIDDEN_FUNCTION.fullmatch(token.name):
                raise _denied(f"use `{token.name}`: it reaches beyond the views")


def check_settings(names: Iterable[str]) -> None:
    """Raise 164 for a setting that the reader may not change."""
    for name in names:
        if not harmless_setting(name):
            raise refusal(Code.READONLY, f"The reader may not change the setting '{name}'.")


def harmless_setting(name: str) -> bool:
    """Return whether a setting only limits a query or formats its answer."""
    return _HARMLESS_SETTING.fullmatch(name) is not None


def _spelled(connection: Connection, text: bytes) -> bytes:
    """Return the statement in the engine's spelling; raises 62 if it is not a statement."""
    try:
        parameters = {"text": text.decode().translate(_ESCAPES)}
    except UnicodeDecodeError:
        raise refusal(Code.SYNTAX_ERROR, "Syntax error: the statement is not UTF-8.") from None
    try:
        answer, _ = connection.run(_SPELL, "RawBLOB", parameters)
    except ClickHouseError as error:
        raise ClickHouseError(error.code, _SCOPE.sub("", error.text)) from None
    return answer


def _settings_named(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the names of settings that are changed: `SET a = 1`, `SETTINGS a = [1, 2], b`.

    A token that may be a name counts as one, so a column called `settings` can be refused.
    """
    depth: int | None = None
    for index in range(_show_settings(tokens), len(tokens)):
        token = tokens[index]
        before = tokens[index - 1] if index else None
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.upper in _SETTINGS_WORDS and not _names_a_column(tokens, index):
            depth = token.depth
        elif depth is None or before is None:
            continue
        elif (
            before.upper in _SETTINGS_WORDS
            or (before.text == "," and token.depth == depth)
            or after == "="  # the end of a name with a dot in it
        ):
            yield token.name
        elif token.depth < depth or token.upper in _ENDS_OF_SETTINGS:
            depth = None


def _show_settings(tokens: Sequence[Token]) -> int:
    """Return the number of tokens of `SHOW [CHANGED] SETTINGS`, which changes no setting."""
    words = [token.upper for token in tokens[:3]]
    if words[:2] == ["SHOW", "SETTINGS"]:
        return 2
    return 3 if words == ["SHOW", "CHANGED", "SETTINGS"] else 0


def _names_a_column(tokens: Sequence[Token], index: int) -> bool:
    """Return whether `settings` is a name: `system.settings`, `settings = 1`; not in `1.`."""
    compared = index + 1 < len(tokens) and tokens[index + 1].text == "="
    part = index >= 2 and tokens[index - 1].text == "." and bool(tokens[index - 2].name)
    return compared or part


def _check_identifiers(tokens: Sequence[Token], parameters: Mapping[str, str]) -> None:
    """Check values of Identifier parameters: they become words of the statement."""
    for opening, name, _, kind in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if opening.text == "{" and kind.name == "Identifier":
            value = parameters.get(name.name, "")
            parts = value.split(".")
            if not _IDENTIFIER.fullmatch(value) or any(map(_FORBIDDEN_FUNCTION.fullmatch, parts)):
                raise _denied(f"give the parameter {name.name} this value")


def _denied(what: str) -> ClickHouseError:
    return refusal(Code.ACCESS_DENIED, f"Not enough privileges: the reader may not {what}.")

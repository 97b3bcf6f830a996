"""What the reader may say: each of its statements is judged before the engine runs it.

The engine has only one user, so a connection that serves the reader gives up every role but the
analyst's. Grants then keep it from raw tables and from writing, row policies from what system
tables tell. What neither covers is judged here, by words: functions that read the server's files or
call other servers, settings that hold SQL or name a file, changes of roles.

What is judged is the engine's own spelling of the statement, without comments and with every escape
resolved, and exactly that text runs. What is not known to be harmless is refused.
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
"""Functions that no grant covers. The bare name is refused: as an argument it is a call as well."""
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
_ENDS_OF_SETTINGS: Final = frozenset({"FORMAT", "UNION", "EXCEPT", "INTERSECT"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_SPELL: Final = "SELECT formatQuerySingleLine({text:String})"
_SCOPE: Final = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\. \()", re.DOTALL)
"""What the engine adds to its errors about our statement, not about the reader's."""
_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0", "\b": r"\b", "\f": r"\f"}
)
"""How the value of a query parameter is written."""


class Judge:
    """Decides about statements; what `Connection`s it uses are the server's, never the reader's."""

    def __init__(self, connection: Connection) -> None:
        """Ask the engine for its table functions: one that it did not have before is refused."""
        answer, _ = connection.run("SELECT lower(name) FROM system.table_functions")
        self._forbidden_calls = frozenset(answer.decode().split()) - _HARMLESS_TABLE_FUNCTIONS

    def judge(
        self, connection: Connection, statement: Statement, parameters: Mapping[str, str]
    ) -> Select | Command:
        """The statement to run in place of this one: the same, as the engine spells it.

        Raises `ClickHouseError`: 62 for what is not one statement, 164 for a setting, 497 for
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
    """Whether a setting only limits a query or says how its answer looks."""
    return _HARMLESS_SETTING.fullmatch(name) is not None


def _spelled(connection: Connection, text: bytes) -> bytes:
    """The statement as the engine spells it; raises 62 when it is not one."""
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
    """Names of settings, wherever they are changed: `SET a = 1`, `SETTINGS a = 1, b = [2]`."""
    depth: int | None = None
    for before, token, following in zip(
        [tokens[0], *tokens], tokens, [*tokens[1:], tokens[-1]], strict=False
    ):
        names_a_column = before.upper in (".", "AS") or following.text == "="
        if token.upper in ("SET", "SETTINGS") and not names_a_column:
            depth = token.depth
        elif depth is not None and following.text == "=":
            yield token.name
        elif depth is not None and (token.depth < depth or token.upper in _ENDS_OF_SETTINGS):
            depth = None


def _check_identifiers(tokens: Sequence[Token], parameters: Mapping[str, str]) -> None:
    """The value of a parameter of type Identifier becomes a word, so it is judged like one."""
    for opening, name, _, kind in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if opening.text == "{" and kind.name == "Identifier":
            value = parameters.get(name.name, "")
            parts = value.split(".")
            if not _IDENTIFIER.fullmatch(value) or any(map(_FORBIDDEN_FUNCTION.fullmatch, parts)):
                raise _denied(f"give the parameter {name.name} this value")


def _denied(what: str) -> ClickHouseError:
    return refusal(Code.ACCESS_DENIED, f"Not enough privileges: the reader may not {what}.")

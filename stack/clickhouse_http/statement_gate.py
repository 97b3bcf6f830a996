"""What the reader may say: each of its statements is judged before the engine runs it.

The engine has only one user, so a connection that serves the reader gives up every role but the
analyst's. Grants then keep it from raw tables and from writing, row policies from what system
tables tell. What neither covers is judged here: functions that read the server's files or call
other servers, table functions whose structure is code, settings that hold SQL, changes of roles.

The gate guesses nothing from text. The engine spells the statement (no comments, escapes resolved)
and gives the syntax tree of exactly that spelling, and exactly that spelling runs. What the tree
does not show, or what is not known to be harmless (`harmless`), is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from stack.clickhouse_http.connection import PARAMETER_ESCAPES, Connection
from stack.clickhouse_http.errors import ClickHouseError, Code, refusal
from stack.clickhouse_http.harmless import (
    CATEGORIES,
    OTHER_FUNCTIONS,
    REFUSED_FUNCTIONS,
    TABLE_FUNCTIONS,
    check_settings,
)
from stack.clickhouse_http.statement import (
    Command,
    InsertData,
    Select,
    Statement,
    Token,
    parse,
    tokens_of,
)

Node = dict[str, Any]

_QUERIES: Final = frozenset(
    {"SelectQuery", "SelectWithUnionQuery", "SelectIntersectExceptQuery", "ExplainQuery"}
    | {"SetQuery", "UseQuery", "ShowTablesQuery", "ShowColumnsQuery", "ShowIndexesQuery"}
    | {"TablesInSelectQuery"}
)
_NEVER: Final = frozenset({"out_file", "query_parameters", "default_settings", "table_override"})
"""Parts of a tree that make it write a file, name a parameter, or undo a cap."""
_STATE_WORDS: Final = frozenset({"SET", "USE"})
_EXPLAIN_OPTION: Final = re.compile(
    r"header|description|indexes|projections|actions|json|optimize|graph|compact|oneline|sorting"
    r"|run_query_tree_passes|run_passes|dump_passes|dump_ast|dump_tree|passes|pretty|estimates"
)
# Statements that the engine gives no tree of: names behind these words, and nothing else.
_NAMED: Final = re.compile(
    r"DESCRIBE(?: TABLE)?|EXISTS(?: (?:TEMPORARY )?TABLE| VIEW| DATABASE| DICTIONARY)?"
    r"|SHOW CREATE (?:TABLE|VIEW|DATABASE|DICTIONARY)"
    r"|SHOW (?:FUNCTIONS|ENGINES|SETTING|PROCESSLIST)"
)
_WORDS_OF_NAMED: Final = 3
_CLAUSES: Final = frozenset({"SETTINGS", "SET", "INTO", "OUTFILE", "WHERE", "SELECT", "PARALLEL"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_SPELL: Final = "SELECT formatQuerySingleLine({text:String})"
_PARSE: Final = (
    "WITH formatQuerySingleLine({text:String}) AS spelled, parseQueryToJSON(spelled) AS tree"
    " SELECT spelled, tree, formatQuerySingleLine(formatQueryFromJSON(tree))"
)
_NO_TREE: Final = "parseQueryToJSON"
_SCOPE: Final = re.compile(r": In scope (?:SELECT|WITH) formatQuerySingleLine\(.*\)", re.DOTALL)
"""What the engine adds to its errors about our statement, not about the reader's."""
_FUNCTIONS: Final = """
SELECT name, categories, is_aggregate, origin = 'System', alias_to FROM system.functions
"""
_BRACKETS: Final = str.maketrans("", "", "()")


class StatementGate:
    """Decides about statements; the `Connection`s it uses are the server's, never the reader's."""

    def __init__(self, connection: Connection, caps: Mapping[str, str]) -> None:
        """Ask the engine for its functions: one that it did not have before is refused."""
        self._caps = caps
        answer, _ = connection.run(_FUNCTIONS, "JSONCompactEachRow")
        rows = [json.loads(line) for line in answer.splitlines()]
        of = {name: category for name, category, *_ in rows}
        allowed, known, aggregates = set(OTHER_FUNCTIONS), set(), []
        for name, category, is_aggregate, is_system, alias_to in rows:
            known.add(name.lower())
            original = alias_to or name
            if (
                is_system
                and original not in REFUSED_FUNCTIONS
                and (
                    is_aggregate
                    or of.get(original, category) in CATEGORIES
                    or original in OTHER_FUNCTIONS
                )
            ):
                allowed.add(name)
            if is_aggregate:
                aggregates.append(re.escape(name))
        answer, _ = connection.run("SELECT name FROM system.aggregate_function_combinators")
        combinators = "|".join(answer.decode().split())
        self._combined = re.compile(
            f"(?:{'|'.join(aggregates)})(?:{combinators})*(?:Distinct)?", re.IGNORECASE
        )
        self._allowed = frozenset(name.lower() for name in allowed)
        self._forbidden = frozenset(known - self._allowed)

    def judge(
        self, connection: Connection, statement: Statement, parameters: Mapping[str, str]
    ) -> Select | Command:
        """The statement to run in place of this one: the same, as the engine spells it.

        Raises `ClickHouseError`: 62 for what is not one statement, 164 for a setting, 497 for
        anything else that the reader may not do.
        """
        if isinstance(statement, InsertData):
            raise denied("write")
        spelled = self._judged_text(connection, statement.text, parameters)
        judged = parse(spelled.encode())
        if isinstance(judged, InsertData) or (
            isinstance(judged, Command) and judged.verb not in _STATE_WORDS
        ):
            raise denied("write")
        return judged

    def _judged_text(
        self, connection: Connection, text: bytes, parameters: Mapping[str, str]
    ) -> str:
        try:
            answer = _ask(connection, _PARSE, text)
        except ClickHouseError as error:
            if error.code != Code.BAD_ARGUMENTS or _NO_TREE not in error.text:
                raise
            spelled: str = json.loads(_ask(connection, _SPELL, text))[0]
            self._judge_named(connection, spelled, parameters)
            return spelled
        try:
            spelled, tree, rebuilt = json.loads(answer)
            nodes = list(_nodes(json.loads(tree)))
        except RecursionError:
            raise refusal(Code.TOO_DEEP_AST, "The statement is nested too deeply.") from None
        # The tree must show all of the statement; only needless brackets are not kept in it.
        if spelled.translate(_BRACKETS) != rebuilt.translate(_BRACKETS):
            raise denied("use a part of this statement, which cannot be judged")
        for node in nodes:
            self._judge_node(node, parameters)
        return spelled

    def _judge_named(
        self, connection: Connection, spelled: str, parameters: Mapping[str, str]
    ) -> None:
        """`DESCRIBE name`, `DESCRIBE (SELECT …)`, `EXISTS name`, `SHOW CREATE TABLE name`."""
        tokens = tokens_of(spelled.encode())
        words = [token.upper for token in tokens[:_WORDS_OF_NAMED]]
        for count in range(len(words), 0, -1):
            if _NAMED.fullmatch(" ".join(words[:count])):
                break
        else:
            raise denied(f"use {' '.join(words[:2])}")
        rest = tokens[count:]
        if rest and words[0] == "DESCRIBE" and rest[0].text == "(" and rest[-1].text == ")":
            inner = spelled.encode()[rest[0].end : rest[-1].start]
            self._judged_text(connection, inner, parameters)
            return
        for token in rest:
            if not _plain(token):
                raise denied(f"use `{token.text[:40]}` here")

    def _judge_node(self, node: Node, parameters: Mapping[str, str]) -> None:
        kind = str(node.get("type", ""))
        if kind.endswith("Query") and kind not in _QUERIES:
            raise denied(f"use a statement of the kind {kind}")
        if _NEVER & node.keys():
            raise denied(f"use {', '.join(sorted(_NEVER & node.keys()))}")
        if kind == "ExplainQuery":
            _judge_explain(node)
        elif "changes" in node and not node.get("of_explain"):
            check_settings(_changes(node), self._caps)
        if kind == "QueryParameter":
            self._judge_parameter(node, parameters)
        self._judge_names(node, kind)

    def _judge_names(self, node: Node, kind: str) -> None:
        if "table_function" in node:
            name = str(node["table_function"].get("name", ""))
            if name.lower() not in TABLE_FUNCTIONS and not _only_rows(node["table_function"]):
                raise denied(f"use the table function `{name}`")
            node["table_function"]["is_table"] = True
        if kind == "Literal" or kind == "":
            return
        if kind == "Function" and not node.get("is_table") and not self._callable(node["name"]):
            raise denied(f"call `{node['name']}`")
        # A bare name is a call too: `arrayMap(file, …)`, `* APPLY file`.
        for key in ("name", "func_name", "name_parts", "alias"):
            value = node.get(key, "")
            for part in value if isinstance(value, list) else str(value).split("."):
                if kind != "Function" and part.lower() in self._forbidden:
                    raise denied(f"use the name `{part}`: it is a function beyond the views")

    def _callable(self, name: str) -> bool:
        return name.lower() in self._allowed or bool(self._combined.fullmatch(name))

    def _judge_parameter(self, node: Node, parameters: Mapping[str, str]) -> None:
        """The value of a parameter of type Identifier becomes a name, so it is judged like one."""
        name = str(node.get("name", ""))
        if node.get("param_type") == "Identifier":
            value = parameters.get(name, "")
            parts = value.lower().split(".")
            if not _IDENTIFIER.fullmatch(value) or not self._forbidden.isdisjoint(parts):
                raise denied(f"give the parameter {name} this value")


def _only_rows(function: Node) -> bool:
    """`VALUES (1, 'a'), (2, 'b')`, as JDBC's metadata has it: rows without a structure before them.

    The engine takes a text in the first place for a structure, and a row for nothing else.
    """
    rows = function.get("arguments", {}).get("children", [])
    return str(function.get("name")).lower() == "values" and all(
        row.get("name") == "tuple"
        if row.get("type") == "Function"
        else row.get("type") == "Literal" and row["value"].get("field_type") == "Tuple"
        for row in rows
    )


def denied(what: str) -> ClickHouseError:
    """497, in ClickHouse's words."""
    return refusal(Code.ACCESS_DENIED, f"Not enough privileges: the reader may not {what}.")


def _ask(connection: Connection, question: str, text: bytes) -> bytes:
    """The engine's answer about a text; raises 62 when that is not one statement."""
    try:
        parameters = {"text": text.decode().translate(PARAMETER_ESCAPES)}
    except UnicodeDecodeError:
        raise refusal(Code.SYNTAX_ERROR, "Syntax error: the statement is not UTF-8.") from None
    try:
        answer, _ = connection.run(question, "JSONCompactEachRow", parameters)
    except ClickHouseError as error:
        raise ClickHouseError(error.code, _SCOPE.sub("", error.text)) from None
    return answer


def _nodes(tree: Node) -> Iterator[Node]:
    """Every object of a tree, a parent before its children."""
    waiting: list[Any] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _changes(node: Node) -> Iterator[tuple[str, str]]:
    """Settings of a node as names and values in text."""
    for change in node["changes"]:
        yield str(change["name"]), str(change["value"].get("value", ""))


def _judge_explain(node: Node) -> None:
    """`EXPLAIN indexes = 1 …`: options of EXPLAIN, which are no settings."""
    options = node.get("settings")
    if options is None:
        return
    for name, _ in _changes(options):
        if not _EXPLAIN_OPTION.fullmatch(name):
            raise denied(f"use the option {name}")
    options["of_explain"] = True


def _plain(token: Token) -> bool:
    """A name, the dot within one, a text to compare with: nothing that could be code."""
    if token.is_word:
        return token.upper not in _CLAUSES
    return token.text[0] in "`\"'.="

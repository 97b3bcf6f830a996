"""Statements that run, by the ids that their clients gave them, and KILL QUERY."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from schemas.sql_words import clickhouse_literal
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.marks import PROCESSES, SHOWN_PROCESSES
from stack.clickhouse_http.statement import Command, Select, Token, parse, tokens_of
from stack.clickhouse_http.statement_gate import denied

_PLAIN_TEXT: Final = re.compile(r"'[^'\\]*'")
_MODES: Final = frozenset({"SYNC", "ASYNC", "TEST"})
_BEFORE_TABLES: Final = frozenset({"from", "join", ","})
_SHOWN: Final = SHOWN_PROCESSES.encode()


class Running:
    """The ids in use, by user: nobody can keep another's id from being used. Thread-safe."""

    def __init__(self) -> None:
        self._ids: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def entered(self, user: str, query_id: str) -> Iterator[None]:
        """Hold the id while a statement runs; raises 216 while another one has it."""
        key = (user, query_id)
        with self._lock:
            if key in self._ids:
                raise refusal(
                    Code.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                    f"Query with id = {query_id} is already running.",
                )
            self._ids.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._ids.discard(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class KillQuery:
    """KILL QUERY WHERE `condition` `mode`; the condition is over `system.processes`."""

    condition: str
    mode: str
    format_name: str | None

    @classmethod
    def read(cls, command: Command) -> Self | None:
        """Return None for every other statement, and for those that the engine may refuse."""
        tokens = tokens_of(command.text)
        if [token.upper for token in tokens[:3]] != ["KILL", "QUERY", "WHERE"]:
            return None
        end = len(tokens)
        if command.format_name is not None:
            end -= [token.upper for token in reversed(tokens)].index("FORMAT") + 1
        mode = tokens[end - 1].upper if tokens[end - 1].upper in _MODES else "ASYNC"
        end -= tokens[end - 1].upper in _MODES
        if end <= 3:
            return None
        condition = _between(command.text, tokens[3], tokens[end - 1])
        return cls(condition=condition, mode=mode, format_name=command.format_name)

    def of_user(self, user: str) -> Self:
        """Return the same for the user's own statements; raises 497 unless it names just an id.

        A condition may be any SQL, so the text of a user who may not do everything is never run.
        """
        tokens = tokens_of(self.condition.encode("utf-8", "surrogateescape"))
        texts = [token.text for token in tokens]
        if texts[:1] == ["("] and texts[-1:] == [")"]:
            texts = texts[1:-1]
        if texts[:2] != ["query_id", "="] or len(texts) != 3 or not _PLAIN_TEXT.fullmatch(texts[2]):
            raise denied("use KILL QUERY but as WHERE query_id = '…', for own queries")
        query_id = texts[2][1:-1].encode("latin-1").decode("utf-8", "replace")
        condition = (
            f"query_id = {clickhouse_literal(query_id)} AND user = {clickhouse_literal(user)}"
        )
        return type(self)(condition=condition, mode=self.mode, format_name=self.format_name)

    @property
    def found(self) -> str:
        """The statement that answers: what is stopped, in the columns of KILL QUERY."""
        status = "finished" if self.mode == "SYNC" else "waiting"
        return (
            f"SELECT '{status}' AS kill_status, query_id, user, query FROM {PROCESSES}"
            f" WHERE ({self.condition}\n) AND engine_query_id != queryID()"
        )

    @property
    def statement(self) -> str:
        """The statement that stops them, by the engine's ids."""
        return (
            f"KILL QUERY WHERE query_id IN (SELECT engine_query_id FROM {PROCESSES}"
            f" WHERE ({self.condition}\n)) {self.mode}"
        )


def _between(text: bytes, first: Token, last: Token) -> str:
    return text[first.start : last.end].decode("utf-8", "surrogateescape")


def with_client_ids(select: Select) -> Select:
    """Return a query in which `system.processes` shows the clients' ids instead of the engine's."""
    text = select.text
    if b"process" not in text.lower():
        return select
    tokens = tokens_of(text)
    words = [token.name.lower() or token.text for token in tokens]
    if words[:2] == ["show", "processlist"]:
        text = b"SELECT * FROM " + _SHOWN + text[tokens[1].end :]
    for at in reversed(range(1, len(words) - 2)):
        is_column = words[at + 3 : at + 4] == ["."]
        is_table = words[at - 1] in _BEFORE_TABLES and not is_column
        if words[at : at + 3] == ["system", ".", "processes"] and is_table:
            text = text[: tokens[at].start] + _SHOWN + text[tokens[at + 2].end :]
    changed = parse(text) if text is not select.text else select
    return changed if isinstance(changed, Select) else select

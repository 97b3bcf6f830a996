"""Classifies the SQL of a request, and finds its FORMAT clause and its data.

This is pure text processing; it runs no SQL. A statement is one of three kinds: `InsertData` (rows
follow the statement), `Select` (the engine writes rows into a pipe) and `Command` (everything
else). The engine decides whether the SQL is valid: an unclear statement stays a `Command`, which is
passed on unchanged.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from stack.clickhouse_http.errors import ClickHouseError, Code, refusal

# Decoded as latin-1, so that offsets are byte offsets; SQL keywords are ASCII. The spaces are those
# of the engine, in UTF-8.
_TOKEN: Final = re.compile(
    r"""
    (?P<space>(?:\s|\xc2[\x85\xa0]|\xe1\xa0\x8e|\xe2\x80[\x80-\x8d\xa8\xa9\xaf]|\xe2\x81[\x9f\xa0]
        |\xe3\x80\x80|\xef\xbb\xbf)+)
  | (?P<comment>--[^\n]* | \#[\ !][^\n]* | /\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>"(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`)
  | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<number>[0-9][0-9A-Za-z_]*)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_BLANKS: Final = re.compile(rb"[ \t\f]*\r?\n?")
_DEPTH: Final = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_ANSWERING: Final = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "FROM", "("}
)
# Words that chDB, internally a command-line client, would interpret itself.
_CLIENT_WORDS: Final = frozenset({"EXIT", "QUIT", "LOGOUT", "Q", "HELP"})


@dataclass(frozen=True, slots=True)
class InsertData:
    """An INSERT whose rows follow it; they start at byte `data_start`.

    `before_settings` and `settings` are the two parts of the head: INSERT INTO … and SETTINGS …
    """

    before_settings: bytes
    settings: bytes
    format_name: str | None
    data_start: int

    @property
    def head(self) -> bytes:
        """Everything before FORMAT."""
        return b" ".join(filter(None, (self.before_settings, self.settings)))


@dataclass(frozen=True, slots=True)
class Select:
    """A statement that returns rows: `head` [FORMAT `format_name`] `tail`; `text` is all of it."""

    text: bytes
    head: bytes
    format_name: str | None
    tail: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """Any other statement; `verb` is its first word in capitals."""

    text: bytes
    format_name: str | None
    verb: str


Statement = InsertData | Select | Command


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `upper` is a word in capitals, any other token unchanged.

    `depth` counts the brackets around it; a bracket itself is outside of its own pair.
    """

    text: str
    upper: str
    start: int
    end: int
    is_word: bool
    depth: int

    @property
    def name(self) -> str:
        """The identifier of the token; empty for any other token."""
        if self.is_word:
            return self.text
        if self.text[0] in '`"':
            return _ESCAPED.sub(r"\1", self.text[1:-1])
        return ""


class _Tokens:
    """The tokens of a text, scanned only on demand: the rows after an INSERT are not tokens."""

    def __init__(self, text: bytes) -> None:
        self._found: list[Token] = []
        self._rest = _scan(text)

    def at(self, index: int) -> Token | None:
        """Return token number `index`; None after the end."""
        while len(self._found) <= index:
            token = next(self._rest, None)
            if token is None:
                return None
            self._found.append(token)
        return self._found[index]

    def upper(self, index: int) -> str:
        """Return the token in capitals if it is a word; empty after the end."""
        token = self.at(index)
        return token.upper if token is not None else ""

    def all(self) -> list[Token]:
        """Return every token of the text."""
        self._found.extend(self._rest)
        return self._found


def parse(text: bytes) -> Statement:
    """Parse one statement.

    Raises `ClickHouseError`: 62 for an empty text and for several statements; 358 for INTO OUTFILE
    and FROM INFILE, which would access the server's files.
    """
    tokens = _Tokens(text)
    insert_at = _find_insert(tokens)
    if insert_at is not None:
        return _parse_insert(text, tokens, insert_at + 1)
    return _parse_whole(text, tokens.all())


def tokens_of(text: bytes) -> list[Token]:
    """Return every token of a statement, without spaces and comments."""
    return list(_scan(text))


def _find_insert(tokens: _Tokens) -> int | None:
    """Return the index of INSERT: the first word, or the one after a WITH clause."""
    if tokens.upper(0) != "WITH":
        return 0 if tokens.upper(0) == "INSERT" else None
    index = 0
    while (token := tokens.at(index)) is not None:
        if token.upper == "INSERT" and token.depth == 0 and tokens.upper(index + 1) == "INTO":
            return index
        index += 1
    return None


def _parse_whole(text: bytes, tokens: list[Token]) -> Statement:
    """Parse a statement without rows after it; `tokens` are all of its tokens."""
    _refuse_several(tokens)
    _refuse_files(tokens)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise refusal(Code.SYNTAX_ERROR, "Syntax error: Empty query.")
    first, end = tokens[0], tokens[-1].end
    if first.upper in _CLIENT_WORDS or not (first.is_word or first.text == "("):
        excerpt = text[:100].decode("utf-8", "replace")
        raise refusal(
            Code.SYNTAX_ERROR, f"Syntax error: failed at position 1 ({first.text}): {excerpt}."
        )
    at = _format_position(tokens)
    format_name = tokens[at + 1].text if at is not None else None
    if first.upper not in _ANSWERING or _writes(tokens):
        return Command(text=text[:end], format_name=format_name, verb=first.upper)
    if at is None:
        return Select(text=text[:end], head=text[:end], format_name=None, tail=b"")
    return Select(
        text=text[:end],
        head=text[: tokens[at - 1].end],
        format_name=format_name,
        tail=text[tokens[at + 1].end : end],
    )


def _scan(text: bytes) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(text.decode("latin-1")):
        kind = match.lastgroup
        if kind in ("space", "comment"):
            continue
        value = match.group()
        change = _DEPTH.get(value, 0) if kind == "mark" else 0
        depth += min(change, 0)
        yield Token(
            text=value,
            upper=value.upper() if kind == "word" else value,
            start=match.start(),
            end=match.end(),
            is_word=kind == "word",
            depth=depth,
        )
        depth += max(change, 0)


def _parse_insert(text: bytes, tokens: _Tokens, index: int) -> Statement:
    """Parse … [INTO] [TABLE | FUNCTION] target [(columns)] [SETTINGS …], then rows or a SELECT.

    `index` is the token after INSERT. Stops before the rows, which are not SQL.
    """
    index = _skip_target(tokens, index)
    settings_at: int | None = None
    while (token := tokens.at(index)) is not None:
        if token.depth == 0:
            match token.upper:
                case "VALUES":
                    return _insert_data(text, tokens, settings_at, index, "Values", token.end)
                case "FORMAT":
                    name = tokens.at(index + 1)
                    if name is None or not name.is_word:
                        break
                    start = _data_start(text, name.end)
                    return _insert_data(text, tokens, settings_at, index, name.text, start)
                case "SETTINGS":
                    settings_at = index
                case "SELECT" | "WITH":
                    return _parse_insert_select(text, tokens.all())
                case "(" if tokens.upper(index + 1) in ("SELECT", "WITH", "("):
                    return _parse_insert_select(text, tokens.all())
                case "FROM":
                    raise _files_refused("FROM INFILE")
                case ";":
                    return _insert_data(text, tokens, settings_at, index, None, token.end)
        index += 1
    return _insert_data(text, tokens, settings_at, index, None, len(text))


def _skip_target(tokens: _Tokens, index: int) -> int:
    """Return the index after the name of the table or function: any word or a {parameter}."""
    if tokens.upper(index) == "INTO":
        index += 1
    if tokens.upper(index) in ("TABLE", "FUNCTION") and tokens.upper(index + 1) not in ("", "("):
        index += 1
    while True:
        if tokens.upper(index) == "{":
            while tokens.upper(index) not in ("}", ""):
                index += 1
        index += 1
        if tokens.upper(index) != ".":
            return index
        index += 1


def _insert_data(
    text: bytes,
    tokens: _Tokens,
    settings_at: int | None,
    end_at: int,
    format_name: str | None,
    data_start: int,
) -> InsertData:
    """Split the head into two parts, each ending with a token and not with a comment."""
    split_at = end_at if settings_at is None else settings_at
    return InsertData(
        before_settings=_between(text, tokens, 0, split_at),
        settings=_between(text, tokens, split_at, end_at),
        format_name=format_name,
        data_start=data_start,
    )


def _between(text: bytes, tokens: _Tokens, first: int, behind: int) -> bytes:
    begin, last = tokens.at(first), tokens.at(behind - 1)
    return text[begin.start : last.end] if first < behind and begin and last else b""


def _parse_insert_select(text: bytes, tokens: list[Token]) -> Statement:
    """Parse INSERT … SELECT; the engine cannot read rows of the body by `input(…)`."""
    _refuse_several(tokens)
    _refuse_files(tokens)
    if any(one.upper == "INPUT" and after.text == "(" for one, after in pairwise(tokens)):
        raise refusal(
            Code.NOT_IMPLEMENTED,
            "INSERT SELECT FROM input() is not supported by this server:"
            " insert into a table and select from that.",
        )
    while tokens[-1].text == ";":
        tokens.pop()
    return Command(text=text[: tokens[-1].end], format_name=None, verb="INSERT")


def _data_start(text: bytes, end: int) -> int:
    """Return where rows start: after blanks and one line break, as in ClickHouse."""
    match = _BLANKS.match(text, end)
    return match.end() if match else end


def _format_position(tokens: list[Token]) -> int | None:
    """Return the index of the closing `FORMAT name [SETTINGS …]`; None if there is none."""
    for index in range(len(tokens) - 2, 0, -1):
        token = tokens[index]
        if token.upper == "FORMAT" and token.depth == 0 and tokens[index + 1].is_word:
            after = tokens[index + 2].upper if index + 2 < len(tokens) else ";"
            if after in (";", "SETTINGS"):
                return index
    return None


def _writes(tokens: list[Token]) -> bool:
    """Return whether a statement that starts like a query might be an INSERT."""
    return any(token.upper == "INSERT" and token.depth == 0 for token in tokens)


def _refuse_several(tokens: list[Token]) -> None:
    for token, following in pairwise(tokens):
        if token.text == ";" and following.text != ";":
            raise refusal(
                Code.SYNTAX_ERROR,
                f"Syntax error (Multi-statements are not allowed): failed at position"
                f" {token.start + 1} (end of query). Send one statement at a time.",
            )


def _refuse_files(tokens: list[Token]) -> None:
    for token, following in pairwise(tokens):
        if token.upper == "INTO" and following.upper == "OUTFILE":
            raise _files_refused("INTO OUTFILE")
        if token.upper == "FROM" and following.upper == "INFILE":
            raise _files_refused("FROM INFILE")


def _files_refused(clause: str) -> ClickHouseError:
    return refusal(Code.INTO_OUTFILE_NOT_ALLOWED, f"{clause} is not allowed over HTTP.")

"""What kind of SQL a request holds, and where its FORMAT clause and its data begin.

Pure text work; nothing here runs SQL. A statement is one of three kinds: `InsertData` (rows follow
the statement), `Select` (rows come back, written by the engine into a pipe) and `Command` (all
else). The engine itself judges whether the SQL is right: what is unclear here stays a `Command`.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stack.clickhouse_http.errors import Code, refusal

# Read as latin-1, so that offsets are offsets into the bytes; SQL's own words are ASCII.
_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+)
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
_DEPTH: Final = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_ANSWERING: Final = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "FROM", "("}
)
# Words that chDB, being a command-line client inside, would take for itself.
_CLIENT_WORDS: Final = frozenset({"EXIT", "QUIT", "LOGOUT", "Q", "HELP"})


@dataclass(frozen=True, slots=True)
class InsertData:
    """An INSERT whose rows follow it; `data_start` is the byte where they begin."""

    head: str
    format_name: str | None
    data_start: int


@dataclass(frozen=True, slots=True)
class Select:
    """A statement that answers rows: `head` [FORMAT `format_name`] `tail`; `text` is all of it."""

    text: str
    head: str
    format_name: str | None
    tail: str


@dataclass(frozen=True, slots=True)
class Command:
    """Any other statement; `verb` is its first word in capitals."""

    text: str
    format_name: str | None
    verb: str


Statement = InsertData | Select | Command


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    upper: str
    start: int
    end: int
    is_word: bool
    depth: int


def parse(text: bytes) -> Statement:
    """Read one statement.

    Raises `ClickHouseError`: 62 for an empty text, for several statements at once and for bytes
    that are not UTF-8; 358 for INTO OUTFILE and FROM INFILE, which would touch the server's files.
    """
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None:
        raise refusal(Code.SYNTAX_ERROR, "Syntax error: Empty query.")
    if first.upper == "INSERT":
        return _parse_insert(text, tokens)
    everything = [first, *tokens]
    _refuse_several(everything)
    _refuse_files(everything)
    while everything[-1].text == ";":
        everything.pop()
        if not everything:
            raise refusal(Code.SYNTAX_ERROR, "Syntax error: Empty query.")
    statement = text[: everything[-1].end]
    if first.upper in _CLIENT_WORDS or not (first.is_word or first.text == "("):
        excerpt = _decode(statement)[:100]
        raise refusal(
            Code.SYNTAX_ERROR, f"Syntax error: failed at position 1 ({first.text}): {excerpt}."
        )
    at = _format_position(everything)
    format_name = everything[at + 1].text if at is not None else None
    if first.upper not in _ANSWERING:
        return Command(text=_decode(statement), format_name=format_name, verb=first.upper)
    if at is None:
        head, tail = statement, b""
    else:
        head, tail = text[: everything[at].start], statement[everything[at + 1].end :]
    return Select(
        text=_decode(statement),
        head=_decode(head),
        format_name=format_name,
        tail=_decode(tail),
    )


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text.decode("latin-1")):
        kind = match.lastgroup
        if kind in ("space", "comment"):
            continue
        value = match.group()
        change = _DEPTH.get(value, 0) if kind == "mark" else 0
        depth += min(change, 0)
        yield _Token(
            text=value,
            upper=value.upper() if kind == "word" else value,
            start=match.start(),
            end=match.end(),
            is_word=kind == "word",
            depth=depth,
        )
        depth += max(change, 0)


def _parse_insert(text: bytes, tokens: Iterator[_Token]) -> Statement:
    """INSERT INTO [TABLE | FUNCTION] target [(columns)] [SETTINGS …] then data or a SELECT."""
    seen: list[_Token] = []
    target_ended = False
    for token in tokens:
        seen.append(token)
        if len(seen) <= 2 or seen[-2].upper in ("INTO", "TABLE", "FUNCTION", "."):
            continue  # the target's own name may be any word
        target_ended = target_ended or token.text not in (".",)
        if token.depth or not target_ended:
            continue
        if token.upper == "VALUES":
            return InsertData(_decode(text[: token.start]), "Values", token.end)
        if token.upper == "FORMAT":
            name = next(tokens, None)
            if name is None or not name.is_word:
                break
            return InsertData(_decode(text[: token.start]), name.text, _data_start(text, name.end))
        if token.upper in ("SELECT", "WITH", "(") and _opens_select(token, seen):
            return _parse_insert_select(text, seen, list(tokens))
        if token.upper == "FROM":
            raise refusal(Code.INTO_OUTFILE_NOT_ALLOWED, "FROM INFILE is not allowed over HTTP.")
        if token.text == ";":
            return InsertData(_decode(text[: token.start]), None, token.end)
    return InsertData(_decode(text), None, len(text))


def _opens_select(token: _Token, seen: list[_Token]) -> bool:
    """A bracket opens a SELECT only after the column list; a word always does."""
    return token.text != "(" or seen[-2].text == ")"


def _parse_insert_select(text: bytes, seen: list[_Token], rest: list[_Token]) -> Statement:
    """INSERT … SELECT; it takes rows from the body only when it reads from `input(…)`."""
    everything = [*seen, *rest]
    at = _format_position(everything)
    if at is not None and any(token.upper == "INPUT" for token in rest):
        name = everything[at + 1]
        return InsertData(
            _decode(text[: everything[at].start]), name.text, _data_start(text, name.end)
        )
    _refuse_several(everything)
    _refuse_files(everything)
    return Command(text=_decode(text), format_name=None, verb="INSERT")


def _data_start(text: bytes, end: int) -> int:
    """Rows begin after blanks and one line break behind the format's name, as in ClickHouse."""
    match = re.compile(rb"[ \t\f]*\r?\n?").match(text, end)
    return match.end() if match else end


def _format_position(tokens: list[_Token]) -> int | None:
    """Index of the closing `FORMAT name [SETTINGS …]`; None when there is none."""
    for index in range(len(tokens) - 2, 0, -1):
        token = tokens[index]
        if token.upper == "FORMAT" and token.depth == 0 and tokens[index + 1].is_word:
            after = tokens[index + 2].upper if index + 2 < len(tokens) else ";"
            if after in (";", "SETTINGS"):
                return index
    return None


def _refuse_several(tokens: list[_Token]) -> None:
    for token, following in itertools.pairwise(tokens):
        if token.text == ";" and following.text != ";":
            raise refusal(
                Code.SYNTAX_ERROR,
                f"Syntax error (Multi-statements are not allowed): failed at position"
                f" {token.start + 1} (end of query). Send one statement at a time.",
            )


def _refuse_files(tokens: list[_Token]) -> None:
    for token, following in itertools.pairwise(tokens):
        if token.upper == "INTO" and following.upper == "OUTFILE" and token.depth == 0:
            raise refusal(Code.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed.")
        if token.upper == "FROM" and following.upper == "INFILE":
            raise refusal(Code.INTO_OUTFILE_NOT_ALLOWED, "FROM INFILE is not allowed over HTTP.")


def _decode(text: bytes) -> str:
    try:
        return text.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise refusal(
            Code.SYNTAX_ERROR,
            f"Syntax error: the statement is not UTF-8 at byte {error.start + 1}.",
        ) from None

"""The kinds of statements, where FORMAT stands and where rows begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.clickhouse_http.errors import ClickHouseError
from stack.clickhouse_http.statement import Command, InsertData, Select, parse

INSERTS = [
    # statement, head, format, rows
    (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t", "CSV", b"1,2"),
    (b"insert into t format CSV 1,2", b"insert into t", "CSV", b"1,2"),
    (b"INSERT INTO t FORMAT CSV \t\r\n 1,2", b"INSERT INTO t", "CSV", b" 1,2"),
    (b"INSERT INTO t FORMAT CSV\n\n1", b"INSERT INTO t", "CSV", b"\n1"),
    (b"INSERT INTO t FORMAT CSV", b"INSERT INTO t", "CSV", b""),
    (b"INSERT INTO t VALUES (1)", b"INSERT INTO t", "Values", b" (1)"),
    (b"INSERT INTO t(a, b) VALUES(1)", b"INSERT INTO t(a, b)", "Values", b"(1)"),
    (b"INSERT INTO t", b"INSERT INTO t", None, b""),
    (b"INSERT INTO t;", b"INSERT INTO t", None, b""),
    (b"INSERT t FORMAT CSV\n1", b"INSERT t", "CSV", b"1"),
    (b"INSERT INTO d.t FORMAT CSV\n1", b"INSERT INTO d.t", "CSV", b"1"),
    (b"INSERT INTO `d`.`FORMAT` FORMAT CSV\n1", b"INSERT INTO `d`.`FORMAT`", "CSV", b"1"),
    (b"INSERT INTO format FORMAT CSV\n1", b"INSERT INTO format", "CSV", b"1"),
    (b"INSERT INTO values VALUES (1)", b"INSERT INTO values", "Values", b" (1)"),
    (b"INSERT INTO {t:Identifier} FORMAT CSV\n1", b"INSERT INTO {t:Identifier}", "CSV", b"1"),
    (
        b"INSERT INTO t (format, `values`) SETTINGS a = 'x)', b = 1 FORMAT TSV\n1",
        b"INSERT INTO t (format, `values`) SETTINGS a = 'x)', b = 1",
        "TSV",
        b"1",
    ),
    (
        b"INSERT INTO FUNCTION file('x', 'CSV', 'a Int8') VALUES (1)",
        b"INSERT INTO FUNCTION file('x', 'CSV', 'a Int8')",
        "Values",
        b" (1)",
    ),
    (b"-- INSERT\nINSERT INTO t -- FORMAT X\n FORMAT CSV\n1", b"INSERT INTO t", "CSV", b"1"),
    (b"WITH 1 AS y INSERT INTO t FORMAT CSV\n1;2", b"WITH 1 AS y INSERT INTO t", "CSV", b"1;2"),
    (b"INSERT INTO t FORMAT CSV\n'; SELECT \"", b"INSERT INTO t", "CSV", b"'; SELECT \""),
]


@pytest.mark.parametrize(("text", "head", "format_name", "rows"), INSERTS)
def test_insert_is_cut_where_its_rows_begin(
    text: bytes, head: bytes, format_name: str | None, rows: bytes
) -> None:
    statement = parse(text)
    assert isinstance(statement, InsertData)
    assert (statement.head, statement.format_name) == (head, format_name)
    assert text[statement.data_start :] == rows


def test_insert_keeps_its_settings_apart() -> None:
    statement = parse(b"INSERT INTO t (a) SETTINGS x = 1 FORMAT CSV\n1")
    assert isinstance(statement, InsertData)
    assert statement.before_settings == b"INSERT INTO t (a)"
    assert statement.settings == b"SETTINGS x = 1"


SELECTS = [
    # statement, head, format, tail
    (b"SELECT 1", b"SELECT 1", None, b""),
    (b"SELECT 1;", b"SELECT 1", None, b""),
    (b" (SELECT 1) -- x", b" (SELECT 1)", None, b""),
    (b"SELECT 1 FORMAT CSV", b"SELECT 1", "CSV", b""),
    (b"SELECT 1 -- x\nFORMAT CSV; -- y", b"SELECT 1", "CSV", b""),
    (b"SELECT 1 FORMAT CSV SETTINGS a = 1", b"SELECT 1", "CSV", b" SETTINGS a = 1"),
    (b"SELECT 1 SETTINGS a = 1 FORMAT CSV", b"SELECT 1 SETTINGS a = 1", "CSV", b""),
    (b"SELECT format FROM t", b"SELECT format FROM t", None, b""),
    (b"SELECT format('{}', 1)", b"SELECT format('{}', 1)", None, b""),
    (b"SELECT * FROM format(CSV, 'x')", b"SELECT * FROM format(CSV, 'x')", None, b""),
    (b"SELECT 'x FORMAT CSV'", b"SELECT 'x FORMAT CSV'", None, b""),
    (b"SELECT $$ FORMAT CSV $$", b"SELECT $$ FORMAT CSV $$", None, b""),
    (b"SHOW TABLES FORMAT JSON", b"SHOW TABLES", "JSON", b""),
    ("\ufeff\u00a0SELECT 1;\u3000".encode(), "\ufeff\u00a0SELECT 1".encode(), None, b""),
    ("SELECT 1\u2003FORMAT\u2003CSV".encode(), b"SELECT 1", "CSV", b""),
]


@pytest.mark.parametrize(("text", "head", "format_name", "tail"), SELECTS)
def test_select_is_cut_where_its_format_stands(
    text: bytes, head: bytes, format_name: str | None, tail: bytes
) -> None:
    statement = parse(text)
    assert isinstance(statement, Select)
    assert (statement.head, statement.format_name, statement.tail) == (head, format_name, tail)


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", "CREATE"),
        (b"set a = 1", "SET"),
        (b"INSERT INTO t SELECT 1", "INSERT"),
        (b"INSERT INTO t (a) (SELECT 1)", "INSERT"),
        (b"INSERT INTO t (a) WITH 1 AS x SELECT x", "INSERT"),
        (b"WITH 1 AS x INSERT INTO t SELECT x", "INSERT"),
        (b"WITH 1 AS x INSERT t SELECT x", "WITH"),  # never rewritten, for it writes
        (b"WITH insert AS (SELECT 1) SELECT 2", "WITH"),  # a needless caution, but safe
        (b"nonsense", "NONSENSE"),
    ],
)
def test_everything_else_is_passed_on_as_it_came(text: bytes, verb: str) -> None:
    statement = parse(text)
    assert isinstance(statement, Command)
    assert (statement.text, statement.verb) == (text, verb)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 62),
        (b" \n", 62),
        (b";;", 62),
        (b"-- x", 62),
        (b"/* x */", 62),
        (b"SELECT 1; SELECT 2", 62),
        (b"SELECT 1; DROP TABLE t", 62),
        (b"DROP TABLE t; SELECT 1", 62),
        (b"INSERT INTO t SELECT 1; SELECT 2", 62),
        (b"exit", 62),
        (b"QUIT;", 62),
        (b"\\q", 62),
        (b"SELECT 1 INTO OUTFILE 'x'", 358),
        (b"SELECT 1 into /* x */ outfile 'x' FORMAT CSV", 358),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 358),
        (b"INSERT INTO t SELECT 1 INTO OUTFILE 'x'", 358),
        (b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1", 48),
    ],
)
def test_what_may_not_run_is_refused(text: bytes, code: int) -> None:
    with pytest.raises(ClickHouseError) as raised:
        parse(text)
    assert raised.value.code == code


KEYWORDS = "INSERT INTO TABLE FUNCTION FORMAT VALUES SELECT WITH SETTINGS FROM INFILE OUTFILE"
MARKS = """t input a.b ( ) { } , ; ' " ` \\ -- /* */ $$ $x$ 1 = 'it''s' "q" `w` é"""
WORDS = st.sampled_from([*KEYWORDS.split(), *MARKS.split(), "\n", "'a;b'"])


@given(st.lists(WORDS, max_size=25).map(" ".join))
def test_no_text_is_read_wrongly_apart(text: str) -> None:
    raw = text.encode()
    try:
        statement = parse(raw)
    except ClickHouseError:
        return
    match statement:
        case InsertData():
            assert 0 < statement.data_start <= len(raw)
            assert raw.find(statement.before_settings) >= 0
        case Select():
            assert statement.text.startswith(statement.head)
            assert statement.text.endswith(statement.tail)
            assert statement.text in raw
        case Command():
            assert statement.text in raw


@given(st.binary(max_size=200))
def test_rows_are_never_looked_at(rows: bytes) -> None:
    text = b"INSERT INTO t FORMAT CSV\n"
    statement = parse(text + rows)
    assert isinstance(statement, InsertData)
    assert statement.data_start == len(text)

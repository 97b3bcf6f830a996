"""The reader's statements and login, and the questions that pages ask of the views."""

import hashlib
from collections import defaultdict
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.catalogue import VIEWS
from schemas.errors import ConfigurationError
from schemas.money import CURRENCY_EXPONENTS
from sinks import analyst_user, queries
from sinks.analyst_user import ensure_reader, reader_sql

pytestmark = pytest.mark.integration

STATEMENTS = reader_sql("purser", "purser_reader", "look'out")


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: str(statement[:30]))
def test_the_engine_reads_the_statements_that_make_the_reader(
    client: Client, statement: str
) -> None:
    """The local engine makes no users, so it can only say whether they are statements."""
    client.query("SELECT formatQuery({statement:String})", parameters={"statement": statement})


def test_the_reader_gets_every_view_and_nothing_else() -> None:
    [granted] = [text for text in STATEMENTS if "SELECT ON" in text]
    rights = granted.removeprefix("GRANT ").removesuffix(
        " TO `purser_analyst_purser` WITH REPLACE OPTION"
    )
    assert rights.split(", ") == [f"SELECT ON `purser`.{view}" for view in VIEWS]
    made = [text for text in STATEMENTS if text.startswith(("CREATE USER", "ALTER USER"))]
    assert sum("readonly = 2 CONST" in text for text in made) == 2


def test_another_databases_analysts_keep_their_rights() -> None:
    other = reader_sql("books", "purser_reader", "look'out")
    for mine, theirs in zip(STATEMENTS, other, strict=True):
        if "REPLACE OPTION" in mine:
            assert mine.split(" TO ")[1] != theirs.split(" TO ")[1]
        else:
            assert "REVOKE" not in mine
    assert "GRANT `purser_analyst_books` TO `purser_reader`" in other


def test_no_statement_holds_the_password() -> None:
    assert not any("look" in text for text in STATEMENTS)
    digest = hashlib.sha256(b"look'out").hexdigest()
    assert sum(f"IDENTIFIED WITH sha256_hash BY '{digest}'" in text for text in STATEMENTS) == 2


class ServerWithUsers:
    """A client of a server that keeps users made by SQL; it notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __enter__(self) -> "ServerWithUsers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def query(self, sql: str) -> Any:
        assert "system.user_directories" in sql
        return SimpleNamespace(result_rows=[(1,)])

    def command(self, sql: str) -> None:
        self.told.append(sql)

    def close(self) -> None:
        pass


def test_a_server_that_keeps_users_is_told_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ServerWithUsers()
    monkeypatch.setattr(analyst_user, "connect", lambda settings: server)
    ensure_reader("http://a:b@h:1/purser", "http://purser_reader:look%27out@h:1/purser")
    assert server.told == STATEMENTS


def test_the_local_servers_reader_is_there_already(url: str, reader_url: str) -> None:
    ensure_reader(url, reader_url)
    ensure_reader(url, reader_url)


def test_a_reader_who_cannot_log_in_is_told_without_the_password(url: str, reader_url: str) -> None:
    wrong = reader_url.replace("purser_reader:", "purser_reader:wr0ng")
    with pytest.raises(ConfigurationError, match="PURSER_CLICKHOUSE_READER_URL") as caught:
        ensure_reader(url, wrong)
    assert "wr0ng" not in str(caught.value)


def test_the_writer_is_no_reader(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a separate user"):
        ensure_reader(url, url)
    with pytest.raises(ConfigurationError, match="PURSER_CLICKHOUSE_READER_URL: is not like"):
        ensure_reader(url, "purser_reader")


def test_a_reader_of_another_database_is_refused(url: str, reader_url: str) -> None:
    elsewhere = f"{reader_url.rpartition('/')[0]}/elsewhere"
    with pytest.raises(ConfigurationError, match="READER_URL: names the database elsewhere, but"):
        ensure_reader(url, elsewhere)


def test_the_questions_of_pages_can_be_asked_by_the_reader(reader: Client) -> None:
    assert queries.event_count(reader) > 100
    buyer = queries.busiest_buyer(reader)
    assert buyer is not None
    orders = queries.orders_of_buyer(reader, buyer, 3)
    assert 1 <= len(orders) <= 3
    assert orders[0].refund_state != "none"  # some buyer of the history has a refund
    assert not queries.orders_of_buyer(reader, "nobody", 3)


def test_the_trial_balance_sums_to_zero_in_every_currency(reader: Client) -> None:
    sums: dict[str, int] = defaultdict(int)
    for balance in queries.trial_balance(reader):
        sums[balance.currency] += balance.balance_minor
    assert sums
    assert set(sums.values()) == {0}


def test_top_sellers_are_those_who_earned_most(reader: Client) -> None:
    best = queries.top_sellers(reader, 2)
    by_currency: dict[str, list[int]] = defaultdict(list)
    for seller in best:
        assert seller.net_minor == (
            seller.gross_minor
            - seller.refunds_minor
            - seller.chargebacks_minor
            - seller.commission_minor
            - seller.logistics_fee_minor
        )
        by_currency[seller.currency].append(seller.net_minor)
    assert all(len(nets) <= 2 for nets in by_currency.values())
    for currency, nets in by_currency.items():
        [(most,)] = reader.query(
            "SELECT max(total) FROM (SELECT sum(net) AS total FROM seller_revenue"
            " WHERE currency = {currency:String} GROUP BY seller_id)",
            parameters={"currency": currency},
        ).result_rows
        assert nets == sorted(nets, reverse=True)
        assert most == Decimal(nets[0]).scaleb(-CURRENCY_EXPONENTS[currency])

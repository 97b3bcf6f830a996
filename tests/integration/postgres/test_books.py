"""What `purser books` reads of `payments`: the SQL says what the table of effects says."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from operations.books import BooksSettings, Options, Verdict, compare_books
from operations.books.recorded import Amount, Recorded
from schemas.events import Event
from tests.books import MemoryRecorded
from tests.builders import NOON, a_payment, change, fresh_key
from tests.integration.postgres.database import Database
from tests.stripe_books import StripeModel
from writer import commands as c
from writer.append import Appended, Writer
from writer.migrate import migrate
from writer.postgres import open_store


@contextmanager
def a_writer(database: Database) -> Iterator[Writer]:
    with open_store(database.writer) as store:
        opened = Writer(store)
        yield opened
        opened.close()


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    with a_writer(database) as opened:
        yield opened


class Shop:
    """Appends commands, and keeps what was appended; all keys begin with the test's own name."""

    def __init__(self, writer: Writer) -> None:
        self.events: list[Event] = []
        self._writer = writer

    def pay(self, **fields: Any) -> c.CreatePayment:
        payment = a_payment(**{"idempotency_key": f"books-{fresh_key()}", **fields})
        self.record(payment)
        return payment

    def record(self, command: c.AnyCommand) -> None:
        answer = self._writer.handle(command)
        assert isinstance(answer, Appended), answer
        self.events += answer.events

    def do(self, kind: type[c.Change], payment: c.CreatePayment, **fields: Any) -> None:
        key = f"books-{fresh_key()}"
        self.record(change(kind, payment.payment_id, idempotency_key=key, **fields))


def test_the_sql_reads_what_the_effects_say(database: Database, writer: Writer) -> None:
    shop = Shop(writer)
    psp = "books-1"
    for number in range(20):
        chance = random.Random(number)
        payment = shop.pay(psp=psp, occurred_at=NOON + timedelta(days=number))
        at = NOON + timedelta(days=number, hours=1)
        intent = f"pi_{number}"
        if number % 3 == 0:
            shop.do(c.Fail, payment, occurred_at=at)
        shop.do(c.Capture, payment, amount_minor=chance.randint(600, 1500), psp_reference=intent)
        if number % 3 == 0:
            shop.do(c.RecordRefund, payment, amount_minor=100, psp_reference=f"re_{number}")
            shop.do(c.Honour, payment)
            continue
        shop.do(c.RecordRefund, payment, amount_minor=300, psp_reference=f"re_{number}")
        shop.do(c.OpenDispute, payment, amount_minor=chance.randint(200, 2000),
                psp_reference=f"dp_{number}", occurred_at=at)  # fmt: skip
        shop.do(
            c.LoseDispute if number % 2 else c.WinDispute, payment, psp_reference=f"dp_{number}"
        )
    memory = MemoryRecorded(shop.events)
    with Recorded(database.reader, psp) as recorded:
        recorded.take_snapshot()
        for since in (None, NOON + timedelta(days=11)):
            assert _sorted(recorded.money(since)) == _sorted(memory.money(since))
        some = sorted({str(event.payment_id) for event in shop.events})[:7]
        assert _sorted(recorded.money_of(some)) == _sorted(memory.money_of(some))
        asked = ["pi_3", "dp_4", "nothing"]
        assert recorded.owners(asked) == memory.owners(asked)
    with Recorded(database.reader, "another") as recorded:
        recorded.take_snapshot()
        assert list(recorded.money(None)) == []


def _sorted(amounts: Any) -> list[Amount]:
    return sorted(amounts, key=lambda amount: amount.key)


def test_what_was_asked_for_and_has_no_outcome(database: Database, writer: Writer) -> None:
    shop = Shop(writer)
    psp = "books-2"
    shop.pay(psp=psp, flow="direct")
    shop.pay(psp=psp, flow="confirm_later")  # nothing was asked
    shop.pay(psp=psp)  # nor by us
    for kind in (c.MarkUnknown, c.MarkProcessing, c.RequireAction, c.Fail):
        shop.do(kind, shop.pay(psp=psp, flow="hosted"))
    manual = shop.pay(psp=psp, flow="direct", capture="manual")
    shop.do(c.Authorize, manual)
    shop.do(c.RequestCapture, manual, amount_minor=900)
    done = shop.pay(psp=psp, flow="direct", capture="manual")
    shop.do(c.Authorize, done)
    shop.do(c.RequestCapture, done)
    shop.do(c.Capture, done, psp_reference="pi_done")
    for refund_id in ("one", "two", "three"):
        shop.do(c.RequestRefund, done, refund_id=refund_id, amount_minor=200)
    shop.do(c.FailRefund, done, refund_id="one")
    shop.do(c.RecordRefund, done, refund_id="two", psp_reference="re_two")
    with Recorded(database.reader, psp) as recorded:
        recorded.take_snapshot()
        assert [(u.what, u.count, u.amount_minor) for u in recorded.under_way(None)] == [
            ("charges", 3, 4500),
            ("captures", 2, 900),
            ("refunds", 2, 200),
        ]
        assert recorded.under_way(NOON + timedelta(days=1)) == []


def test_a_comparison_with_the_real_table(empty_database: Database) -> None:
    """They agree; then a row is taken away behind everybody's back, and it says so."""
    migrate(empty_database.owner)
    with a_writer(empty_database) as writer:
        model, paid = _bought(Shop(writer))
    settings = BooksSettings.load(postgres_reader_dsn=empty_database.reader)
    options = Options(grace_seconds=0.0, timeout_seconds=20.0)
    report = compare_books(settings, options, model.books())
    assert (report.verdict, report.looks) == (Verdict.AGREE, 1), report.to_json()

    gone, intent = paid[0]
    with psycopg.connect(empty_database.superuser) as session:
        # Only who owns the table can take its guards away.
        session.execute("ALTER TABLE payments DISABLE TRIGGER ALL")
        session.execute(
            "DELETE FROM payments WHERE payment_id = %s AND event_type = 'captured'",
            [gone.payment_id],
        )
    report = compare_books(settings, options, model.books())
    assert report.verdict is Verdict.DIFFER
    assert [
        (d.payment_id, d.reference, d.expected_minor, d.actual_minor) for d in report.differences
    ] == [(str(gone.payment_id), intent, 0, 1500)]


def _bought(shop: Shop) -> tuple[StripeModel, list[tuple[c.CreatePayment, str]]]:
    model = StripeModel(page=7)
    paid = []
    for number in range(1, 40):
        payment = shop.pay(occurred_at=NOON)
        intent = model.charge(payment.payment_id, "EUR", 1500)
        model.capture(intent, 1500)
        shop.do(c.Capture, payment, psp_reference=intent)
        if number % 3 == 0:
            shop.do(c.RecordRefund, payment, amount_minor=number,
                    psp_reference=model.refund(intent, number))  # fmt: skip
        paid.append((payment, intent))
    return model, paid

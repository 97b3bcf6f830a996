"""The append path against a real PostgreSQL: races, retries, lost connections, wrong set-ups."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from schemas.errors import (
    ConfigurationError,
    PurserError,
    Rejection,
    SchemaVersionError,
    ServiceUnavailable,
)
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.rejections import RejectionCode as Code
from stack.endpoints import Endpoints
from tests.builders import a_payment, a_payout, change, fresh_key, line, rows_of, state_after
from tests.integration.postgres.database import Database, new_database
from tests.property.auditor import Auditor
from writer import commands as c
from writer.append import Appended, Writer, open_writer
from writer.postgres import PostgresStore

THREADS = 8


def accepted(answer: object) -> Appended:
    assert isinstance(answer, Appended), answer
    return answer


def test_a_command_is_answered_and_answered_again(postgres_store: PostgresStore) -> None:
    writer = Writer(postgres_store)
    payment = a_payment(idempotency_key=f"again-{fresh_key()}")
    first = accepted(writer.handle(payment))
    assert not first.already_done
    again = accepted(writer.handle(payment))
    assert again.already_done
    assert again.events == first.events
    capture = change(c.Capture, payment.payment_id, amount_minor=700)
    assert accepted(writer.handle(capture)).events == accepted(writer.handle(capture)).events
    other = change(
        c.Capture, payment.payment_id, amount_minor=1, idempotency_key=capture.idempotency_key
    )
    refused = writer.handle(other)
    assert isinstance(refused, Rejection)
    assert refused.code == Code.IDEMPOTENCY_CONFLICT


def test_one_answer_for_a_key_that_many_send_at_once(postgres_store: PostgresStore) -> None:
    writer = Writer(postgres_store)
    payment = a_payment(idempotency_key=f"at-once-{fresh_key()}")
    with ThreadPoolExecutor(THREADS) as threads:
        answers = [accepted(answer) for answer in threads.map(writer.handle, [payment] * THREADS)]
    assert {answer.events for answer in answers} == {answers[0].events}
    assert sum(not answer.already_done for answer in answers) == 1


def _racing_commands(seed: int, payments: Sequence[c.CreatePayment]) -> list[c.Change]:
    """Captures, refunds, disputes and releases that together ask for more than there is."""
    chance = random.Random(seed)
    commands: list[c.Change] = []
    for payment in payments:
        target = payment.payment_id
        commands.append(change(c.Capture, target, amount_minor=900))
        for _ in range(12):
            amount = chance.choice([None, 1, 100, 400])
            order_id = chance.choice([None, "A", "B"])
            kind = chance.choice([c.Capture, c.Release, c.RecordRefund, c.OpenDispute])
            commands.append(change(kind, target, order_id=order_id, amount_minor=amount))
            commands.append(change(chance.choice([c.WinDispute, c.LoseDispute, c.Ship]), target))
            refund_id = f"re{chance.randrange(3)}"
            fields = {"refund_id": refund_id, "amount_minor": chance.choice([50, 200])}
            commands.append(change(c.RequestRefund, target, **fields))
            commands.append(change(chance.choice([c.RecordRefund, c.FailRefund]), target,
                                   refund_id=refund_id))  # fmt: skip
    chance.shuffle(commands)
    return commands + chance.sample(commands, len(commands) // 4)


def _audit(stream: Sequence[Event], payment: c.CreatePayment, sent: Sequence[c.Change]) -> None:
    """Replay a stream into the auditor's books, command by command."""
    by_key = {command.idempotency_key: command for command in sent}
    books = Auditor(payment)
    rows: dict[str, list[NewEvent]] = {}
    for number, event in enumerate(stream, start=1):
        assert event.seq == number
        rows.setdefault(event.idempotency_key, []).append(event)
    rows.pop(payment.idempotency_key)
    for key, answered in rows.items():
        books.write_down(by_key[key], tuple(answered))


def test_racing_commands_leave_right_books_and_no_guard_fires(
    postgres_store: PostgresStore,
) -> None:
    writer = Writer(postgres_store)
    payments = [a_payment(idempotency_key=f"race-{fresh_key()}") for _ in range(4)]
    for payment in payments:
        accepted(writer.handle(payment))
    commands = _racing_commands(7, payments)
    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(writer.handle, commands))
    codes = {answer.code for answer in answers if isinstance(answer, Rejection)}
    assert Code.REFUSED_BY_DATABASE not in codes
    assert any(isinstance(answer, Appended) for answer in answers)
    for payment in payments:
        _audit(postgres_store.load(payment.payment_id), payment, commands)
    # What was answered stays answered.
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, Appended):
            assert accepted(writer.handle(command)).events == answer.events


def test_racing_payouts_never_overdraw(postgres_store: PostgresStore) -> None:
    writer = Writer(postgres_store)
    seller = f"seller-{fresh_key()}"
    payment = a_payment(line("A", 1000, 0, seller_id=seller, logistics_fee_minor=0),
                        idempotency_key=f"payouts-{fresh_key()}")  # fmt: skip
    for command in (payment, change(c.Capture, payment.payment_id),
                    change(c.Release, payment.payment_id)):  # fmt: skip
        accepted(writer.handle(command))
    payouts = [
        a_payout(seller_id=seller, amount_minor=300, idempotency_key=f"payout-{fresh_key()}")
        for _ in range(THREADS)
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(writer.handle, payouts))
    refused = [answer for answer in answers if isinstance(answer, Rejection)]
    assert len(refused) == THREADS - 3
    assert {answer.code for answer in refused} == {Code.PAYOUT_ABOVE_BALANCE}
    assert postgres_store.available_minor(seller, "EUR") == 100


class LosesAnswers(PostgresStore):
    """Appends, and then the connection breaks before the answer arrives."""

    losses = 2

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        appended = super().append(events)
        if self.losses:
            self.losses -= 1
            raise ServiceUnavailable("the connection broke")
        return appended


def test_a_lost_answer_is_found_again_not_appended_again(postgres_store: PostgresStore) -> None:
    store = LosesAnswers(postgres_store._pool)
    payment = a_payment(idempotency_key=f"lost-{fresh_key()}")
    assert accepted(Writer(store).handle(payment)).already_done
    assert len(postgres_store.load(payment.payment_id)) == 2
    payout = change(c.Capture, payment.payment_id, amount_minor=10)
    assert accepted(Writer(store).handle(payout)).already_done
    assert sum(row.amount_minor for row in postgres_store.load(payment.payment_id)[2:]) == 10


def test_killed_connections_are_replaced_while_commands_go_on(
    postgres_store: PostgresStore, database: Database
) -> None:
    writer = Writer(postgres_store)
    payment = a_payment(idempotency_key=f"killed-{fresh_key()}")
    accepted(writer.handle(payment))

    def kill_all_connections() -> int:
        with psycopg.connect(database.superuser, autocommit=True) as session:
            return session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'purser_writer' AND datname = current_database()"
            ).rowcount

    sent: list[c.Change] = []
    killed = 0
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            captures = [change(c.Capture, payment.payment_id, amount_minor=2) for _ in range(40)]
            sent += captures
            answers = [threads.submit(writer.handle, capture) for capture in captures]
            next(as_completed(answers))
            killed += kill_all_connections()
            for answer in answers:
                accepted(answer.result())
    assert killed >= 5
    stream = postgres_store.load(payment.payment_id)
    _audit(stream, payment, sent)
    assert sum(row.amount_minor for row in stream[2:]) == 2 * len(sent)


class AlwaysMoved(PostgresStore):
    """Somebody else is always faster."""

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        return super().load(payment_id)[:-1]


def test_losing_every_race_ends_with_an_error_that_says_so(postgres_store: PostgresStore) -> None:
    payment = a_payment(idempotency_key=f"moved-{fresh_key()}")
    accepted(Writer(postgres_store).handle(payment))
    writer = Writer(AlwaysMoved(postgres_store._pool), retry_seconds=0.5)
    started = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="faster"):
        writer.handle(change(c.Capture, payment.payment_id, order_id="A"))
    assert time.monotonic() - started < 20


def test_an_answer_takes_milliseconds(postgres_store: PostgresStore) -> None:
    writer = Writer(postgres_store)
    times = []
    for _ in range(50):
        payment = a_payment(idempotency_key=f"fast-{fresh_key()}")
        started = time.perf_counter()
        accepted(writer.handle(payment))
        times.append(time.perf_counter() - started)
    assert sorted(times)[len(times) // 2] < 0.5


# -- wrong set-ups -------------------------------------------------------------------------------


def _opened(dsn: str) -> None:
    with open_writer(dsn):
        pass


@pytest.mark.parametrize(
    ("dsn", "kind"),
    [
        ("no such thing", ConfigurationError),
        ("postgresql://u:topsecret@[host/x", ConfigurationError),
        ("host=127.0.0.1 port=1 user=u password=topsecret dbname=x", ServiceUnavailable),
        ("host=no-such-host.invalid user=u password=topsecret", ServiceUnavailable),
    ],
)
def test_wrong_address_is_an_error_without_the_password(dsn: str, kind: type[PurserError]) -> None:
    with pytest.raises(kind) as raised:
        _opened(dsn)
    assert "topsecret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    "wrong", [{"password": "wrong"}, {"user": "nobody-here"}, {"dbname": "nothing-here"}]
)
def test_wrong_login_is_an_error(endpoints: Endpoints, wrong: dict[str, str]) -> None:
    with pytest.raises(PurserError) as raised:
        _opened(make_conninfo(endpoints.postgres_dsn, **wrong))
    assert raised.value.exit_status == 2
    assert "\n" not in str(raised.value)


def test_missing_schema_is_an_error(endpoints: Endpoints) -> None:
    with new_database(endpoints) as empty, pytest.raises(SchemaVersionError):
        _opened(empty.writer)


def test_an_event_of_newer_code_stops_the_writer(postgres_store: PostgresStore) -> None:
    writer = Writer(postgres_store)
    payment = a_payment(line("A"), idempotency_key=f"newer-{fresh_key()}")
    accepted(writer.handle(payment))
    rows = rows_of(state_after([payment]), change(c.MarkProcessing, payment.payment_id))
    postgres_store.append([msgspec.structs.replace(row, schema_version=99) for row in rows])
    with pytest.raises(SchemaVersionError, match="upgrade the writer"):
        writer.handle(change(c.Capture, payment.payment_id))

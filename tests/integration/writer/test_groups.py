"""Many callers at once against a real PostgreSQL: threads, coroutines, two writers, bad rows."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import msgspec
import psycopg
import pytest
from psycopg import sql

from schemas.errors import PurserError, Rejection, SchemaVersionError
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.rejections import RejectionCode as Code
from stack.endpoints import Endpoints
from tests.builders import a_payment, a_payout, change, fresh_key, line, rows_of, state_after
from tests.integration.postgres.database import Database, new_database
from writer import commands as c
from writer.append import (
    Answer,
    Appended,
    AsyncWriter,
    Writer,
    open_async_writer,
    open_writer,
)
from writer.migrate import migrate
from writer.postgres import LOCK_SECONDS, PostgresStore, open_store
from writer.store import EventStore, StreamMoved

CALLERS = 50


def accepted(answer: object) -> Appended:
    assert isinstance(answer, Appended), answer
    return answer


def lives(count: int) -> list[list[c.AnyCommand]]:
    """The commands of payments of one to three orders, each life to be sent one by one."""
    found: list[list[c.AnyCommand]] = []
    for number in range(count):
        key = f"life-{fresh_key()}"
        lines = (line(order, seller_id=f"{key}-{order}") for order in "ABC"[: 1 + number % 3])
        payment = a_payment(*lines, idempotency_key=key)
        target = payment.payment_id
        found.append([
            payment,
            change(c.Authorize, target),
            change(c.Capture, target, amount_minor=600),
            change(c.Capture, target),
            change(c.Ship, target),
            change(c.RecordRefund, target, amount_minor=7),
            change(c.Release, target, order_id="A"),
            a_payout(seller_id=f"{key}-A", amount_minor=800, idempotency_key=f"{key}-out"),
        ])  # fmt: skip
    return found


def _assert_appended(store: EventStore, lives: Sequence[Sequence[c.AnyCommand]]) -> None:
    for life in lives:
        stream = store.load(life[0].payment_id)
        assert [event.seq for event in stream] == [*range(1, len(stream) + 1)]
        keys = list(dict.fromkeys(event.idempotency_key for event in stream))
        assert keys == [command.idempotency_key for command in life[:-1]]
        assert len(store.load(life[-1].payment_id)) == 1
        state = state_after(life[:-1])
        assert [_new(event) for event in stream] == [
            row for rows in state.answers.values() for row in rows
        ]


def _new(event: Event) -> NewEvent:
    return NewEvent(**{name: getattr(event, name) for name in NewEvent.__struct_fields__})


class Counting(PostgresStore):
    """Remembers the number of rows of each transaction."""

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store._pool)
        self.transactions: list[int] = []

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        self.transactions.append(len(events))
        return super().append(events)


@contextmanager
def crowd(store: EventStore, kind: str) -> Iterator[Callable[[Sequence[Sequence[c.AnyCommand]]],
                                                            list[list[Answer]]]]:  # fmt: skip
    """Sends lives through one writer, each by a caller of its own: a thread or a coroutine."""
    if kind == "threads":
        with closing(Writer(store)) as writer, ThreadPoolExecutor(CALLERS) as threads:
            yield lambda lives: list(
                threads.map(lambda life: [writer.handle(command) for command in life], lives)
            )
        return
    with closing(AsyncWriter(store)) as async_writer:

        async def send(life: Sequence[c.AnyCommand]) -> list[Answer]:
            return [await async_writer.handle(command) for command in life]

        async def send_all(lives: Sequence[Sequence[c.AnyCommand]]) -> list[list[Answer]]:
            return await asyncio.gather(*map(send, lives))

        yield lambda lives: asyncio.run(send_all(lives))


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_fifty_callers_are_appended_together(postgres_store: PostgresStore, kind: str) -> None:
    sent = lives(CALLERS)
    store = Counting(postgres_store)
    with crowd(store, kind) as send:
        answers = send(sent)
        again = send(sent)
    _assert_appended(postgres_store, sent)
    for life, life_again in zip(answers, again, strict=True):
        for answer, answer_again in zip(life, life_again, strict=True):
            assert not accepted(answer).already_done
            assert accepted(answer_again) == Appended(accepted(answer).events, already_done=True)
            (first, *_) = accepted(answer).events
            assert first in postgres_store.load(PaymentId(first.payment_id))
    rows = sum(store.transactions)
    assert rows / len(store.transactions) > 4, "they were not appended together"


class Spoils(PostgresStore):
    """Sends rows of some keys with a wrong sum, as a bug in `decide` would."""

    def __init__(self, store: PostgresStore, keys: set[str]) -> None:
        super().__init__(store._pool)
        self.keys = keys

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        return super().append([
            msgspec.structs.replace(event, captured_minor=event.captured_minor + 1)
            if event.idempotency_key in self.keys else event
            for event in events
        ])  # fmt: skip


def test_a_refused_row_fails_nobody_else(postgres_store: PostgresStore) -> None:
    sent = lives(30)
    bad = [life[2] for life in sent[::10]]
    store = Spoils(postgres_store, {command.idempotency_key for command in bad})
    with crowd(store, "coroutines") as send:
        answers = send([life[:3] for life in sent])
    for life, life_answers in zip(sent, answers, strict=True):
        for command, answer in zip(life, life_answers, strict=False):
            if command in bad:
                assert isinstance(answer, Rejection)
                assert answer.code == Code.REFUSED_BY_DATABASE
                assert answer.field == "captured_minor"
            else:
                accepted(answer)
    for life in sent[::10]:
        assert all(e.event_type != "captured" for e in postgres_store.load(life[0].payment_id))


def test_an_event_of_newer_code_stops_only_its_own_payment(postgres_store: PostgresStore) -> None:
    sent = lives(12)
    newer = sent[5][0]
    postgres_store.append(
        [msgspec.structs.replace(row, schema_version=99) for row in rows_of(None, newer)]
    )

    async def send_all(writer: AsyncWriter) -> list[Answer | BaseException]:
        calls = [writer.handle(life[0]) for life in sent]
        return [*await asyncio.gather(*calls, return_exceptions=True)]

    with closing(AsyncWriter(postgres_store)) as writer:
        answers = asyncio.run(send_all(writer))
    assert isinstance(answers.pop(5), SchemaVersionError)
    assert all(isinstance(answer, Appended) for answer in answers)


def test_two_writers_race_on_the_same_payments(database: Database) -> None:
    """Each writer, with a pool of its own, sends everything: every key is appended once."""
    payments = [a_payment(idempotency_key=f"raced-{fresh_key()}") for _ in range(8)]
    commands = [
        change(kind, payment.payment_id, amount_minor=1)
        for payment in payments
        for kind in [c.Capture] * 15 + [c.RecordRefund] * 5
    ]

    async def send(writer: AsyncWriter, seed: int) -> list[Answer]:
        order = random.Random(seed).sample(commands, len(commands))
        answers = await asyncio.gather(*map(writer.handle, order))
        by_key = {command.idempotency_key: answer
                  for command, answer in zip(order, answers, strict=True)}  # fmt: skip
        return [by_key[command.idempotency_key] for command in commands]

    async def race() -> tuple[list[Answer], list[Answer]]:
        async with (
            open_async_writer(database.writer) as one,
            open_async_writer(database.writer) as other,
        ):
            for payment in payments:
                accepted(await one.handle(payment))
                accepted(await one.handle(change(c.Capture, payment.payment_id, order_id="B")))
            return await asyncio.gather(send(one, 1), send(other, 2))

    ones, others = asyncio.run(race())
    with open_store(database.writer) as store:
        for command, answer, other in zip(commands, ones, others, strict=True):
            assert accepted(answer).events == accepted(other).events
            assert answer.already_done != other.already_done  # type: ignore[union-attr]
            stream = store.load(command.payment_id)
            appended = tuple(e for e in stream if e.idempotency_key == command.idempotency_key)
            assert appended == accepted(answer).events


def _look_for_deadlocks(database: Database) -> None:
    """Find every circle long before a session has waited for as long as it may."""
    with psycopg.connect(database.superuser) as session:
        name = sql.Identifier(session.info.dbname)
        session.execute(sql.SQL("ALTER DATABASE {} SET deadlock_timeout = '20ms'").format(name))


def _deadlocks(database: Database) -> int:
    with psycopg.connect(database.superuser) as session:
        row = session.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_groups_of_two_writers_never_wait_for_each_other_in_a_circle(endpoints: Endpoints) -> None:
    """Both pay out the same sellers and change the same payments, each in an order of its own."""
    with new_database(endpoints) as database:
        migrate(database.owner)
        _look_for_deadlocks(database)
        sellers = [f"seller-{number}" for number in range(6)]
        with open_writer(database.writer) as writer:
            payments = [_funded(writer, seller) for seller in sellers]

        async def send(writer: AsyncWriter, seed: int) -> list[Answer]:
            chance = random.Random(seed)
            answers: list[Answer] = []
            for _ in range(40):
                chance.shuffle(sellers)
                calls: list[Awaitable[Answer]] = [
                    writer.handle(a_payout(seller_id=seller, amount_minor=1,
                                           idempotency_key=f"out-{seed}-{fresh_key()}"))
                    for seller in sellers
                ]  # fmt: skip
                calls += [
                    writer.handle(change(c.RecordRefund, payment.payment_id, amount_minor=1,
                                         idempotency_key=f"back-{seed}-{fresh_key()}"))
                    for payment in chance.sample(payments, 3)
                ]  # fmt: skip
                answers += await asyncio.gather(*calls)
            return answers

        async def race() -> tuple[list[Answer], list[Answer]]:
            async with (
                open_async_writer(database.writer) as one,
                open_async_writer(database.writer) as other,
            ):
                return await asyncio.gather(send(one, 1), send(other, 2))

        answers = [answer for side in asyncio.run(race()) for answer in side]
        assert all(isinstance(answer, Appended) for answer in answers)
        assert _deadlocks(database) == 0


def _funded(writer: Writer, seller: str) -> c.CreatePayment:
    payment = a_payment(
        line("A", 100_000, 0, seller_id=seller, logistics_fee_minor=0),
        idempotency_key=f"funds-{fresh_key()}",
    )
    for command in (payment, change(c.Capture, payment.payment_id),
                    change(c.Release, payment.payment_id)):  # fmt: skip
        accepted(writer.handle(command))
    return payment


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_payouts_at_once_never_overdraw(postgres_store: PostgresStore, kind: str) -> None:
    seller = f"at-once-{fresh_key()}"
    with closing(Writer(postgres_store)) as writer:
        _funded(writer, seller)
    payouts = [[a_payout(seller_id=seller, amount_minor=9_000)] for _ in range(CALLERS)]
    with crowd(postgres_store, kind) as send:
        answers = [answer for (answer,) in send(payouts)]
    refused = [answer for answer in answers if isinstance(answer, Rejection)]
    assert len(refused) == CALLERS - 11
    assert {answer.code for answer in refused} == {Code.PAYOUT_ABOVE_BALANCE}
    assert postgres_store.available_minor(seller, "EUR") == 1_000


def test_a_payment_that_somebody_else_holds_holds_up_nobody_else(
    postgres_store: PostgresStore, database: Database
) -> None:
    """Somebody's transaction has appended to a payment and does not end."""
    held = a_payment(idempotency_key=f"held-{fresh_key()}")
    others = lives(20)

    async def send(writer: AsyncWriter, session: psycopg.Connection) -> Answer:
        await writer.handle(held)
        state = state_after([held])
        with session.transaction(force_rollback=True):
            PostgresStore(_One(session)).append(  # type: ignore[arg-type]
                rows_of(state, change(c.MarkProcessing, held.payment_id))
            )
            waits = asyncio.create_task(writer.handle(change(c.Capture, held.payment_id)))
            answers = await asyncio.gather(*(writer.handle(life[0]) for life in others))
            assert all(isinstance(answer, Appended) for answer in answers)
            assert not waits.done()
        return await waits

    with (
        closing(AsyncWriter(postgres_store)) as writer,
        psycopg.connect(database.writer) as session,
    ):
        accepted(asyncio.run(send(writer, session)))


class _One:
    """A pool of one connection that somebody else manages."""

    def __init__(self, session: psycopg.Connection) -> None:
        self._session = session

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        yield self._session


def test_waiting_for_a_lock_ends_as_a_lost_race(
    postgres_store: PostgresStore, database: Database
) -> None:
    payment = a_payment(idempotency_key=f"locked-{fresh_key()}")
    with psycopg.connect(database.writer) as session, session.transaction(force_rollback=True):
        PostgresStore(_One(session)).append(rows_of(None, payment))  # type: ignore[arg-type]
        with pytest.raises(StreamMoved, match="lock timeout"):
            postgres_store.append(rows_of(None, payment))
    assert LOCK_SECONDS == 1


def test_streams_are_loaded_together(postgres_store: PostgresStore) -> None:
    sent = lives(20)

    async def load_all(writer: AsyncWriter) -> list[tuple[Event, ...]]:
        await asyncio.gather(*(writer.handle(life[0]) for life in sent))
        ids = [life[0].payment_id for life in sent]
        nobody = a_payment(idempotency_key=f"nobody-{fresh_key()}").payment_id
        return await asyncio.gather(*map(writer.load, [*ids, nobody, ids[0]]))

    with closing(AsyncWriter(postgres_store)) as writer:
        *streams, nothing, first = asyncio.run(load_all(writer))
    assert streams == [postgres_store.load(life[0].payment_id) for life in sent]
    assert nothing == ()
    assert first == streams[0]


def test_cancelled_callers_leave_whole_commands(postgres_store: PostgresStore) -> None:
    sent = lives(40)

    async def send_and_cancel(writer: AsyncWriter) -> list[Answer | BaseException]:
        tasks = [asyncio.create_task(writer.handle(life[0])) for life in sent]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                asyncio.get_running_loop().call_later(0.0005 * number, task.cancel)
        return [*await asyncio.gather(*tasks, return_exceptions=True)]

    with closing(AsyncWriter(postgres_store)) as writer:
        answers = asyncio.run(send_and_cancel(writer))
    for number, (life, answer) in enumerate(zip(sent, answers, strict=True)):
        stream = postgres_store.load(life[0].payment_id)
        if isinstance(answer, asyncio.CancelledError):
            assert number % 3 == 0
            assert len(stream) in (0, 1 + number % 3)
        else:
            assert accepted(answer).events == stream


def test_the_end_of_the_block_waits_for_what_is_under_way(database: Database) -> None:
    sent = lives(60)

    async def leave_early() -> list[Answer]:
        async with open_async_writer(database.writer) as writer:
            tasks = [asyncio.create_task(writer.handle(life[0])) for life in sent]
            await asyncio.sleep(0)
        return [task.result() for task in tasks]

    async def closed() -> None:
        async with open_async_writer(database.writer) as writer:
            pass
        with pytest.raises(PurserError, match="closed"):
            await writer.handle(sent[0][0])

    assert all(isinstance(answer, Appended) for answer in asyncio.run(leave_early()))
    asyncio.run(closed())


@pytest.mark.parametrize("dsn", ["no such thing", "host=127.0.0.1 port=1 user=u dbname=x"])
def test_a_wrong_address_is_an_error_of_the_async_writer_too(dsn: str) -> None:
    async def open_it() -> None:
        async with open_async_writer(dsn):
            pass

    with pytest.raises(PurserError):
        asyncio.run(open_it())

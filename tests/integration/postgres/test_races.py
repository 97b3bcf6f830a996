"""Sessions that race: for a place in a payment, for a refund, for a seller's balance.

The first tests fix the order of things and so always meet the race; the last ones let many
sessions run and look at what is left.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from uuid import UUID

import psycopg
import pytest
from psycopg import IsolationLevel

from schemas.lifecycle import Direction
from schemas.lifecycle import EventType as E
from schemas.postgres.guard_codes import GuardCode
from tests.integration.postgres.database import Database, insert
from tests.integration.postgres.rows import Book, Row

pytestmark = pytest.mark.integration

UNIQUE, SERIALIZATION = "23505", "40001"
BLOCKED_SECONDS = 0.3
WAIT_SECONDS = 30
SESSIONS = 6
ISOLATIONS = (
    IsolationLevel.READ_COMMITTED,
    IsolationLevel.REPEATABLE_READ,
    IsolationLevel.SERIALIZABLE,
)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to be blocked in."""
    with ThreadPoolExecutor(SESSIONS) as executor:
        yield executor


def _session(
    database: Database, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
) -> psycopg.Connection:
    session = psycopg.connect(database.writer)
    session.isolation_level = isolation
    return session


def _append(session: psycopg.Connection, *rows: Row) -> str | None:
    """Append and commit; the SQLSTATE when that was refused."""
    try:
        with session.transaction():
            insert(session, *rows)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def _committed(database: Database, *rows: Row) -> None:
    with psycopg.connect(database.writer) as session:
        insert(session, *rows)


def _is_blocked(answer: Future[str | None]) -> bool:
    try:
        answer.result(timeout=BLOCKED_SECONDS)
    except FutureTimeoutError:
        return True
    return False


def _captured() -> tuple[Book, list[Row]]:
    book = Book()
    return book, [book.create(), book.event(E.CAPTURED)]


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("commits", [True, False])
def test_of_two_sessions_at_one_seq_one_wins(
    database: Database, pool: ThreadPoolExecutor, isolation: IsolationLevel, commits: bool
) -> None:
    book, rows = _captured()
    _committed(database, *rows)
    refund = book.event(E.REFUNDED)
    with _session(database, isolation) as first, _session(database, isolation) as second:
        insert(first, refund)
        answer = pool.submit(_append, second, refund)
        assert _is_blocked(answer)
        if commits:
            first.commit()
            assert answer.result(WAIT_SECONDS) in {UNIQUE, SERIALIZATION}
        else:
            first.rollback()
            assert answer.result(WAIT_SECONDS) is None


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nobody_appends_after_a_row_that_is_not_committed(
    database: Database, isolation: IsolationLevel
) -> None:
    book, rows = _captured()
    _committed(database, *rows)
    with _session(database, isolation) as first, _session(database, isolation) as second:
        insert(first, book.event(E.REFUNDED, amount=600))
        assert _append(second, book.event(E.REFUNDED, amount=400)) == GuardCode.SEQ_GAP
        first.rollback()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_old_snapshot_cannot_refund_again(database: Database, isolation: IsolationLevel) -> None:
    """Whatever a session saw before, what it appends follows all that was committed."""
    book, rows = _captured()
    _committed(database, *rows)
    stale = Book(payment_id=book.payment_id)
    stale.create()
    stale.event(E.CAPTURED)
    with _session(database, isolation) as session, session.transaction():
        session.execute("SELECT count(*) FROM public.payments")  # takes the snapshot
        _committed(database, book.event(E.REFUNDED))
        with pytest.raises(psycopg.Error) as caught, session.transaction():
            insert(session, stale.event(E.REFUNDED))
        assert caught.value.sqlstate in {UNIQUE, SERIALIZATION}
        stale.seq = 3
        with pytest.raises(psycopg.Error), session.transaction():
            insert(session, stale.event(E.REFUNDED) | {"refunded_minor": 1000})


def test_a_second_payout_waits_for_the_first_and_sees_it(
    database: Database, pool: ThreadPoolExecutor
) -> None:
    seller = _fund(database, 1000)
    with _session(database) as first, _session(database) as second:
        second.execute("SELECT count(*) FROM public.payments")  # both have begun
        insert(first, _payout(seller, 600))
        answer = pool.submit(_append, second, _payout(seller, 600))
        assert _is_blocked(answer)
        first.commit()
        assert answer.result(WAIT_SECONDS) == GuardCode.PAYOUT_ABOVE_BALANCE
    assert _balance(database, seller) == 400


def test_a_payout_that_is_undone_lets_the_next_one_through(
    database: Database, pool: ThreadPoolExecutor
) -> None:
    seller = _fund(database, 1000)
    with _session(database) as first, _session(database) as second:
        insert(first, _payout(seller, 600))
        answer = pool.submit(_append, second, _payout(seller, 600))
        assert _is_blocked(answer)
        first.rollback()
        assert answer.result(WAIT_SECONDS) is None


def test_payouts_of_other_sellers_and_currencies_do_not_wait(database: Database) -> None:
    seller, other = _fund(database, 1000), _fund(database, 1000)
    dollars = _fund(database, 1000, seller=seller, currency="USD")
    with _session(database) as first, _session(database) as second:
        second.execute("SET lock_timeout = '2s'")
        insert(first, _payout(seller, 600))
        assert _append(second, _payout(other, 600)) is None
        assert _append(second, _payout(dollars, 600, currency="USD")) is None


@pytest.mark.parametrize("isolation", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_a_payout_is_refused_where_the_balance_could_be_old(
    database: Database, isolation: IsolationLevel
) -> None:
    seller = _fund(database, 1000)
    with _session(database, isolation) as session:
        assert _append(session, _payout(seller, 1)) == GuardCode.PAYOUT_ISOLATION


@pytest.mark.parametrize("isolation", [IsolationLevel.READ_COMMITTED, IsolationLevel.SERIALIZABLE])
def test_many_writers_of_one_payment_leave_no_gap(
    database: Database, pool: ThreadPoolExecutor, isolation: IsolationLevel
) -> None:
    book, rows = _captured()
    _committed(database, *rows)
    payment_id = book.payment_id

    def ship_many() -> Counter[str | None]:
        answers: Counter[str | None] = Counter()
        with _session(database, isolation) as session:
            for _ in range(25):
                shipped = _shipped(payment_id, _last_seq(session, payment_id))
                answers[_append(session, shipped)] += 1
        return answers

    answers = _run_at_once(pool, ship_many)
    assert set(answers) <= {None, UNIQUE, SERIALIZATION, GuardCode.SEQ_GAP.value}
    assert answers.total() == SESSIONS * 25
    with psycopg.connect(database.reader) as session:
        seqs = session.execute(
            "SELECT seq FROM public.payments WHERE payment_id = %s ORDER BY seq", [payment_id]
        ).fetchall()
    assert [seq for (seq,) in seqs] == list(range(1, answers[None] + 3))
    assert len(answers) > 1, "they never met; the test shows nothing"


def test_many_payouts_never_overdraw(database: Database, pool: ThreadPoolExecutor) -> None:
    seller = _fund(database, 1000)
    seeds = iter(range(SESSIONS))

    def pay_out_many() -> Counter[str | None]:
        randomness = random.Random(next(seeds))
        answers: Counter[str | None] = Counter()
        with _session(database) as session:
            for _ in range(15):
                answers[_append(session, _payout(seller, randomness.randint(1, 120)))] += 1
        return answers

    answers = _run_at_once(pool, pay_out_many)
    assert set(answers) == {None, GuardCode.PAYOUT_ABOVE_BALANCE.value}
    balance = _balance(database, seller)
    assert 0 <= balance < 1000


def _run_at_once(
    pool: ThreadPoolExecutor, work: Callable[[], Counter[str | None]]
) -> Counter[str | None]:
    """Run in every thread; how often each answer was given."""
    running = [pool.submit(work) for _ in range(SESSIONS)]
    wait(running)
    return sum((future.result() for future in running), Counter())


def _fund(
    database: Database, amount: int, *, seller: str | None = None, currency: str = "EUR"
) -> str:
    """A seller (a new one by default) with an amount to be paid; its id."""
    book = Book(currency=currency)
    seller = seller or f"seller-{book.payment_id}"
    rows = [book.create(amount=amount, commission=0, logistics=0, seller_id=seller)]
    rows += [book.event(E.CAPTURED), book.event(E.RELEASED)]
    _committed(database, *rows)
    return seller


def _payout(seller: str, amount: int, currency: str = "EUR") -> Row:
    book = Book(direction=Direction.OUT, currency=currency)
    return book.request(amount=amount, seller_id=seller)


def _balance(database: Database, seller: str) -> int:
    with psycopg.connect(database.reader) as session:
        row = session.execute(
            "SELECT sum(available_delta_minor)::bigint FROM public.payments"
            " WHERE seller_id = %s AND currency = 'EUR'",
            [seller],
        ).fetchone()
    assert row is not None
    return int(row[0])


def _last_seq(session: psycopg.Connection, payment_id: UUID) -> int:
    with session.transaction():
        row = session.execute(
            "SELECT max(seq) FROM public.payments WHERE payment_id = %s", [payment_id]
        ).fetchone()
    assert row is not None
    return int(row[0])


def _shipped(payment_id: UUID, after: int) -> Row:
    book = Book(payment_id=payment_id)
    book.create()
    book.event(E.CAPTURED)
    book.seq = after
    return book.event(E.SHIPPED)

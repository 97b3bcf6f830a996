"""No false alarm while traffic goes on: long transactions, savepoints, rollbacks, repetitions."""

import copy
import json
import random
import threading
import time
from dataclasses import dataclass, field

import psycopg
import pytest

from operations.verify import Report, Verdict
from operations.verify.cut import Cut
from schemas.lifecycle import EventType
from tests.integration.postgres.database import insert
from tests.integration.postgres.rows import Book
from tests.integration.verify.world import World, append, marketplace
from tests.waiting import throughout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

WRITERS = 5
CUTS_LEAST = 6
TRAFFIC_SECONDS_MOST = 240.0
NEXT = (EventType.AUTHORIZED, EventType.CAPTURED, EventType.SHIPPED, EventType.DELIVERED)


@dataclass(slots=True)
class Traffic:
    """Writers that commit, roll back, use savepoints and dawdle, and a pump that does not wait."""

    world: World
    damaged: str | None = None
    """The payment that a restart leaves alone: its rows coming again would mend it."""
    stop: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for number in range(WRITERS):
            self._run(self._write, number)
        self._run(self._deliver)

    def finish(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _run(self, target: object, *arguments: object) -> None:
        def guarded() -> None:
            try:
                target(*arguments)  # type: ignore[operator]
            except BaseException as error:  # noqa: BLE001 - raised again by finish()
                self.failures.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        self.threads.append(thread)

    def _write(self, number: int) -> None:
        rng = random.Random(number)
        books: list[Book] = []
        with psycopg.connect(self.world.database.writer, autocommit=True) as session:
            while not self.stop.is_set():
                # One in ten stays open for long, while the others commit under and over it.
                patience = rng.uniform(1.0, 3.0) if rng.random() < 0.1 else rng.uniform(0, 0.05)
                with session.transaction(force_rollback=rng.random() < 0.2) as transaction:
                    kept = self._append_some(session, rng, copy.deepcopy(books), number)
                    time.sleep(patience)
                if not transaction.force_rollback:
                    books = [book for book in kept if book.seq < 5]

    def _append_some(
        self, session: psycopg.Connection, rng: random.Random, books: list[Book], number: int
    ) -> list[Book]:
        """Append inside of the transaction; the books as they stand if it commits."""
        for _ in range(rng.randint(1, 3)):
            if not books or rng.random() < 0.3:
                books.append(Book())
            with session.transaction(force_rollback=rng.random() < 0.2) as savepoint:
                after = copy.deepcopy(books)
                self._append_one(session, rng.choice(after), number)
            if not savepoint.force_rollback:
                books = after
        return books

    def _append_one(self, session: psycopg.Connection, book: Book, number: int) -> None:
        if book.seq:
            row = book.event(NEXT[book.seq - 1]) if book.seq <= len(NEXT) else None
        else:
            row = book.create(amount=1000 + number, seller_id=f"seller-{number}")
        if row is not None:
            txid = session.execute("SELECT pg_current_xact_id()::text").fetchone()
            assert txid is not None
            row["details"] = json.dumps({"txid": txid[0]})
            insert(session, row)

    def _deliver(self) -> None:
        rng = random.Random(0)
        pump = self.world.pump
        # A batch is on its way for a while: some tables have it, others not yet.
        pump.between_tables = lambda: time.sleep(rng.uniform(0, 0.04))
        while not self.stop.is_set():
            pump.pump()
            if rng.random() < 0.1:  # a restart: what was not committed comes again
                events = sorted(key for key in pump.delivered if key[0] != self.damaged)
                again = rng.sample(events, min(20, len(events)))
                # Of a payment what follows comes again as well.
                first = dict(sorted(again, reverse=True))
                pump.delivered -= {
                    key for key in pump.delivered if key[1] >= first.get(key[0], key[1] + 1)
                }
            time.sleep(rng.uniform(0, 1.0) if rng.random() < 0.1 else 0.02)


def _open_transactions(report: Report) -> int:
    assert report.cut is not None
    return len(Cut.parse(report.cut.snapshot, report.cut.taken_at).in_progress)


def test_many_cuts_under_live_traffic_are_all_equal(new_world: World) -> None:
    append(new_world.database.writer, marketplace(payments=20, seed=3))
    traffic = Traffic(new_world)
    traffic.start()
    reports: list[Report] = []
    try:
        for _ in throughout(TRAFFIC_SECONDS_MOST, poll_seconds=0.0):
            reports.append(new_world.verify(timeout=60.0))
            assert reports[-1].exit_status == 0, reports[-1].to_json()
            cut_in_traffic = sum(1 for report in reports if _open_transactions(report))
            if len(reports) >= CUTS_LEAST and cut_in_traffic >= CUTS_LEAST // 2:
                break
    finally:
        traffic.finish()
    assert cut_in_traffic >= CUTS_LEAST // 2
    counts = [report.postgres_events or 0 for report in reports]
    assert counts[-1] > counts[0]
    assert new_world.verify(timeout=60.0).postgres_events == len(_committed(new_world))


def test_a_cent_is_found_under_live_traffic(new_world: World) -> None:
    append(new_world.database.writer, marketplace(payments=20, seed=4))
    new_world.pump.pump()
    captured = (
        "SELECT min(toString(payment_id)) FROM payment_events_raw WHERE event_type = 'captured'"
    )
    damaged = str(new_world.one(captured))
    where = f"event_type = 'captured' AND payment_id = '{damaged}' ORDER BY seq LIMIT 1"
    new_world.replace("payment_events", "amount_minor + 1 AS amount_minor", where)
    traffic = Traffic(new_world, damaged)
    new_world.pump.delivered.update(_committed(new_world))
    traffic.start()
    try:
        reports = [new_world.verify(timeout=60.0) for _ in range(2)]
    finally:
        traffic.finish()
    for report in reports:
        assert report.verdict is Verdict.DIVERGED, report.to_json()
        events = next(check for check in report.checks if check.name == "payment_events")
        assert events.differences == 1


def _committed(world: World) -> set[tuple[str, int]]:
    with psycopg.connect(world.database.reader) as session:
        return set(session.execute("SELECT payment_id::text, seq FROM payments").fetchall())

"""What the deliverer of webhooks says about itself."""

import asyncio
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from simulators.stripe import endpoints, webhooks
from simulators.stripe.webhooks import Deliverer

ENDPOINT = "we_1"
TURNS = 20
LOOKS_MOST = 2000


class Books:
    """Books of which reads fail while they are told to. One delivery is due."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.due = True

    def row(self, statement: str, _values: object) -> tuple[int] | None:
        self._read("row")
        return (1,) if self.due and statement.startswith("SELECT 1") else None

    def rows(self, _statement: str, _values: object) -> list[Any]:
        self._read("rows")
        return []

    def _read(self, what: str) -> None:
        if what in self.failing:
            raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> Books:
    for name in ("IDLE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(webhooks, name, 0.001)
    monkeypatch.setattr(endpoints, "secrets_of", lambda *_: None)
    return Books()


def started(books: Books) -> Deliverer:
    """A deliverer on these books, with one endpoint."""
    account: Any = SimpleNamespace(
        database=books,
        clock=SimpleNamespace(now=lambda: 0.0),
        events=SimpleNamespace(subscriptions=[SimpleNamespace(endpoint=ENDPOINT)]),
    )
    deliverer = Deliverer(account)
    deliverer.start()
    return deliverer


@pytest.mark.parametrize("what", ["row", "rows"])
def test_a_problem_is_over_when_the_books_can_be_read_again(books: Books, what: str) -> None:
    """`rows` are what a lane reads; nobody need be sent anything to end a problem."""

    async def work() -> None:
        deliverer = started(books)
        books.failing.add(what)
        await until(lambda: deliverer.problem is not None)
        for _ in range(TURNS):  # it lasts as long as its cause
            await asyncio.sleep(0.001)
            assert deliverer.problem is not None
        books.failing.clear()
        await until(lambda: deliverer.problem is None)
        await deliverer.stop()

    asyncio.run(work())


def test_the_problem_of_an_endpoint_is_over_when_nothing_is_due_to_it(books: Books) -> None:
    async def work() -> None:
        deliverer = started(books)
        books.failing.add("rows")
        await until(lambda: deliverer.problem is not None)
        books.due = False  # it was deleted
        await until(lambda: deliverer.problem is None)
        await deliverer.stop()

    asyncio.run(work())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    for _ in range(LOOKS_MOST):
        if is_so():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")

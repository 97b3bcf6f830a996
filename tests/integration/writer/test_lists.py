"""Lists of one party on the real table: what the views lack as yet comes from PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from schemas.lifecycle import Direction
from service import database as service_database
from service.as_of import AsOf
from service.listing import Listing, Wanted
from service.views import Views
from tests.builders import a_payment, a_payout, change, line
from tests.integration.postgres.database import Database
from writer.append import Appended, AsyncReader, Writer
from writer.commands import Capture, Release
from writer.postgres import PostgresStore

ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


class LateViews:
    """Views that hold some payments and no payouts; `as_of` is what is proven of them."""

    def __init__(self, ids: list[UUID], as_of: datetime | None) -> None:
        self.ids = ids
        self.as_of = as_of

    async def ask(self, question: Callable[[Any], list[UUID]]) -> list[UUID]:
        return question(self)

    def query(self, question: str, parameters: object = None) -> Any:
        rows = [[each] for each in self.ids] if "buyer_orders" in question else []
        return type("Answer", (), {"result_rows": rows})

    async def now(self) -> datetime | None:
        return self.as_of


def within(
    database: Database,
    store: PostgresStore,
    views: LateViews,
    work: Callable[[Listing], Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        found, reader = service_database.Database(database.writer), AsyncReader(store)
        await found.open()
        try:
            await work(Listing(found, cast(Views, views), cast(AsOf, views), reader))
        finally:
            reader.close()
            await found.close()

    asyncio.run(main())


def wanted(limit: int = 50, **fields: Any) -> Wanted:
    lower, upper = ALWAYS
    return Wanted(**{"lower": lower, "upper": upper, "after": None, "limit": limit} | fields)


def paid(writer: Writer, buyer_id: str, seller_id: str) -> UUID:
    payment = a_payment(line("A", seller_id=seller_id), buyer_id=buyer_id)
    for command in (
        payment,
        change(Capture, payment.payment_id),
        change(Release, payment.payment_id),
    ):
        assert isinstance(writer.handle(command), Appended)
    return payment.payment_id


def paid_out(writer: Writer, seller_id: str) -> UUID:
    payout = a_payout(seller_id=seller_id, amount_minor=10)
    assert isinstance(writer.handle(payout), Appended)
    return payout.payment_id


def test_a_payment_that_was_just_made_is_in_its_buyers_list(
    database: Database, postgres_store: PostgresStore
) -> None:
    writer, user = Writer(postgres_store), str(uuid4())
    known = paid(writer, user, user)
    as_of = datetime.now(UTC)
    fresh = paid(writer, user, user)
    payout = paid_out(writer, user)
    paid(writer, "somebody-else", "s-9")
    writer.close()

    async def work(listing: Listing) -> None:
        page = await listing.of_buyer(user, wanted())
        assert [stream[0].payment_id for stream in page.streams] == [fresh, known]
        for directions, expected in (
            ([Direction.IN], [fresh, known]),
            ([Direction.OUT], [payout]),
            ([*Direction], [payout, fresh, known]),
            ([], []),
        ):
            page = await listing.of_user(user, directions, wanted())
            assert [stream[0].payment_id for stream in page.streams] == expected

    for proven in (as_of, as_of - timedelta(days=3), None):
        within(database, postgres_store, LateViews([known], proven), work)


def test_pages_of_a_buyer_go_through_both(
    database: Database, postgres_store: PostgresStore
) -> None:
    writer, user = Writer(postgres_store), str(uuid4())
    made = [paid(writer, user, "s-1") for _ in range(5)]
    writer.close()

    async def work(listing: Listing) -> None:
        found, after = [], None
        while True:
            page = await listing.of_buyer(user, wanted(limit=2, after=after))
            found.append([stream[0].payment_id for stream in page.streams])
            if (after := page.after) is None:
                break
        assert found == [made[:2:-1], made[2:0:-1], made[:1]]

    within(database, postgres_store, LateViews(made[:3], datetime.now(UTC)), work)

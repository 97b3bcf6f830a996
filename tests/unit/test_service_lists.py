"""Lists, cursors, periods and amounts: positions that stay, and texts that mean one thing."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import cursors, listing
from service.amounts import minor_of
from service.cursors import Position
from service.problems import Problem
from service.times import days_between, period
from tests.service_world import ApiWorld, key
from writer.store import TookTooLong

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT = datetime(2026, 5, 31, 12, tzinfo=UTC)

LAST_MICROS = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999, beyond which `datetime` has no time."""
BEYOND_MICROS = (datetime(2100, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)

# -- cursors


@given(
    st.integers(0, 10**15).map(lambda micros: EPOCH + timedelta(microseconds=micros)),
    st.uuids(),
    st.text(),
)
def test_a_cursor_comes_back(at: datetime, payment_id: UUID, filters: str) -> None:
    position = Position(at, payment_id)
    assert cursors.decode_position(cursors.encode_position(position, filters), filters) == position


@given(st.one_of(st.text(), st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef0123456789-_")))
def test_whatever_else_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        cursors.decode_position(text, "filters")


@pytest.mark.parametrize(
    "parts",
    [
        [1], [1, "x"], ["x", 1], [1, 2, 3], [],
        *([micros, str(UUID(int=1))] for micros in (2**63 - 1, LAST_MICROS, BEYOND_MICROS, -1)),
    ],
)  # fmt: skip
def test_a_cursor_with_other_contents_is_refused(parts: list[Any]) -> None:
    with pytest.raises(Problem, match="cursor"):
        cursors.decode_position(cursors.encode(parts, "f"), "f")


def test_a_cursor_belongs_to_its_filters() -> None:
    text = cursors.encode_position(Position(AT, UUID(int=7)), [("buyer_id", "b-3")])
    with pytest.raises(Problem, match="other filters"):
        cursors.decode_position(text, [("buyer_id", "b-4")])


@pytest.mark.parametrize("query", ["", "buyer_id=b-3&", "seller_id=s-7&", "status=captured&"])
@pytest.mark.parametrize("micros", [LAST_MICROS, BEYOND_MICROS, -1])
def test_a_made_up_cursor_is_refused_by_every_list(query: str, micros: int) -> None:
    async def work(world: ApiWorld) -> None:
        await make(world, 2)
        path = f"/v1/payments?{query}limit=1"
        async with world.client() as client:
            given = (await client.get(path)).json()["next_cursor"]
            packed = msgspec.msgpack.decode(base64.urlsafe_b64decode(given + "=="))
            packed[1][0] = micros
            made_up = base64.urlsafe_b64encode(msgspec.msgpack.encode(packed)).decode().rstrip("=")
            answer = await client.get(f"{path}&cursor={made_up}")
        assert (answer.status_code, answer.json()["field"]) == (422, "/cursor")

    within(work)


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2100-01-01", "9999-12-31"])
def test_a_made_up_cursor_of_a_statement_is_refused(day: str) -> None:
    filters = [("statement of", "s-7"), ("from_", None), ("to", None)]
    made_up = cursors.encode([day, "EUR", str(UUID(int=1)), 1], filters)

    async def work(world: ApiWorld) -> None:
        async with world.client() as client:
            answer = await client.get(f"/v1/sellers/s-7/statement?cursor={made_up}")
        assert (answer.status_code, answer.json()["field"]) == (422, "/cursor")
        assert "begin without" in answer.json()["detail"]

    within(work)


# -- periods


@pytest.mark.parametrize(
    ("from_", "to", "lower", "upper"),
    [
        (None, None, datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)),
        ("2026-05-31", "2026-05-31", datetime(2026, 5, 31, tzinfo=UTC),
         datetime(2026, 6, 1, tzinfo=UTC)),
        ("2026-05-31T12:00:00Z", "2026-05-31T12:00:00Z", AT, AT),
        ("2026-05-31T14:00:00+02:00", "2026-05-31T14:00:00 02:00", AT, AT),
        ("1970-01-01", "2099-12-31", datetime(1970, 1, 1, tzinfo=UTC),
         datetime(2100, 1, 1, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_period(from_: str | None, to: str | None, lower: datetime, upper: datetime) -> None:
    assert period(from_, to) == (lower, upper)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-5-1", "2026-02-30", "20260531", "2026-W22-7", "0001-01-01",
             "9999-12-31", "2026-05-31T12:00:00", "2026-05-31T25:00:00Z", "٢٠٢٦-٠٥-٣١",
             "9999-12-31T23:59:59-23:00"]
)  # fmt: skip
def test_no_time(text: str) -> None:
    with pytest.raises(Problem, match="from"):
        period(text, None)


@pytest.mark.parametrize(
    ("from_", "to", "days"),
    [
        ("2026-05-30", "2026-05-31", (date(2026, 5, 30), date(2026, 5, 31))),
        ("2026-05-30T10:00:00Z", "2026-05-31T00:00:00Z", (date(2026, 5, 30), date(2026, 5, 30))),
        ("2026-05-30T10:00:00Z", "2026-05-31T00:00:01Z", (date(2026, 5, 30), date(2026, 5, 31))),
    ],
)
def test_the_days_that_a_period_touches(from_: str, to: str, days: tuple[date, date]) -> None:
    assert days_between(*period(from_, to)) == days


# -- amounts in major units


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("25.00", "EUR", 2500), ("25", "EUR", 2500), ("25.5", "EUR", 2550), ("0.01", "EUR", 1),
        ("0", "EUR", 0), ("100", "JPY", 100), ("100.0", "JPY", 100), ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345), ("9999999999999.99", "EUR", 999999999999999),
    ],
)  # fmt: skip
def test_major_units(text: str, currency: str, minor: int) -> None:
    assert minor_of(text, currency) == minor


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1,00", "1.", ".5", "01", "1e2", " 1", "1 ", "1.001", "NaN", "١", "1_000",
     "0x10", "1" * 17, "1.00000"],
)  # fmt: skip
def test_no_amount(text: str) -> None:
    with pytest.raises(Problem, match="amount"):
        minor_of(text, "EUR")


def test_a_fraction_of_a_minor_unit_is_refused() -> None:
    with pytest.raises(Problem, match="JPY has 0 digits"):
        minor_of("1.5", "JPY")


# -- pages over HTTP


def within(work: Callable[[ApiWorld], Coroutine[Any, Any, None]]) -> None:
    world = ApiWorld()
    try:
        asyncio.run(work(world))
    finally:
        world.close()


async def pages(
    world: ApiWorld, path: str, role: str = "service", **params: Any
) -> list[list[str]]:
    """The ids of every page, following cursors."""
    found: list[list[str]] = []
    cursor: str | None = None
    async with world.client(role) as client:
        while True:
            given = params | ({"cursor": cursor} if cursor else {})
            answer = await client.get(path, params=given)
            assert answer.status_code == 200, answer.text
            content = answer.json()
            found.append([each.get("id") or each["tx_id"] for each in content["data"]])
            cursor = content["next_cursor"]
            if cursor is None:
                return found


async def make(world: ApiWorld, count: int, **fields: Any) -> list[str]:
    made = []
    for _ in range(count):
        world.world.clock.advance(1)
        made.append((await world.paid(**fields))["id"])
    return made


def test_pages_are_whole_newest_first_and_end() -> None:
    async def work(world: ApiWorld) -> None:
        made = await make(world, 7)
        assert await pages(world, "/v1/payments", limit=3) == [
            made[:3:-1], made[3:0:-1], made[:1]
        ]  # fmt: skip
        assert await pages(world, "/v1/payments", limit=7) == [made[::-1]]
        assert await pages(world, "/v1/payments", limit=100) == [made[::-1]]

    within(work)


def test_payments_that_are_added_meanwhile_shift_nothing() -> None:
    async def work(world: ApiWorld) -> None:
        made = await make(world, 4)
        async with world.client() as client:
            first = (await client.get("/v1/payments?limit=2")).json()
            await make(world, 3)
            following = await client.get(
                "/v1/payments", params={"limit": 2, "cursor": first["next_cursor"]}
            )
        assert [each["id"] for each in following.json()["data"]] == made[1::-1]

    within(work)


def test_payments_of_the_same_moment_are_all_given() -> None:
    async def work(world: ApiWorld) -> None:
        made = [(await world.paid())["id"] for _ in range(5)]  # the clock stands
        found = [each for page in await pages(world, "/v1/payments", limit=2) for each in page]
        assert sorted(found) == sorted(made)
        assert len(set(found)) == 5

    within(work)


@pytest.mark.parametrize("party", ["s/7", "/", "a/revenue", "%2F", "a//b"])
def test_an_id_with_a_slash_can_be_read(party: str) -> None:
    async def work(world: ApiWorld) -> None:
        made = await make(world, 1, buyer_id=party)
        written = quote(party, safe="")
        assert await pages(world, f"/transactions/{written}") == [made]
        async with world.client() as client:
            for path in ("sellers/{}/revenue", "sellers/{}/balance", "sellers/{}/statement"):
                answer = await client.get("/v1/" + path.format(written))
                assert (answer.status_code, answer.json()["seller_id"]) == (200, party)
            answer = await client.get(f"/v1/buyers/{written}/orders")
            assert (answer.status_code, answer.json()["buyer_id"]) == (200, party)
        async with world.client("seller", "s-7") as client:
            answer = await client.get(f"/v1/sellers/{quote(f's-7/{party}', safe='')}/balance")
            assert answer.status_code == 403

    within(work)


def test_filters() -> None:
    async def work(world: ApiWorld) -> None:
        [mine] = await make(world, 1, buyer_id="b-1")
        order = {"order_id": "o", "amount_minor": 5, "seller_id": "s-x"}
        [theirs] = await make(
            world, 1, orders=[{**order, "order_id": "p", "seller_id": "s-y"}, order]
        )
        [held] = await make(world, 1, capture="manual")
        assert await pages(world, "/v1/payments", buyer_id="b-1") == [[mine]]
        assert await pages(world, "/v1/payments", seller_id="s-x") == [[theirs]]
        assert await pages(world, "/v1/payments", status="authorized") == [[held]]
        assert await pages(world, "/v1/payments", buyer_id="b-1", seller_id="s-x") == [[]]
        assert await pages(world, "/v1/payments", to="2025-12-31") == [[]]

    within(work)


def test_a_filtered_page_is_filled_beyond_what_is_left_out() -> None:
    async def work(world: ApiWorld) -> None:
        held = await make(world, 2, capture="manual")
        await make(world, 6)
        held += await make(world, 2, capture="manual")
        found = await pages(world, "/v1/payments", status="authorized", limit=3)
        assert found == [held[:0:-1], held[:1]]

    within(work)


def test_a_slow_list_keeps_no_payment_waiting() -> None:
    """Streams for lists are read apart: a payment is loaded while a list still waits."""
    slow = Event()

    async def work(world: ApiWorld) -> None:
        listed, other = await make(world, 2)
        load_many = world.world.store.load_many

        def slowly(payment_ids: Any) -> Any:
            if UUID(listed) in payment_ids:
                assert slow.wait(30)
            return load_many(payment_ids)

        world.world.store.load_many = slowly  # type: ignore[method-assign]
        async with world.client() as client:
            page = asyncio.create_task(client.get("/v1/payments"))
            await asyncio.sleep(0.2)
            try:
                read = await asyncio.wait_for(client.get(f"/v1/payments/{other}"), 5)
            finally:
                slow.set()
            assert read.status_code == 200
            assert (await page).status_code == 200

    within(work)


def test_a_page_ends_early_after_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ROWS_MOST", 10)
    monkeypatch.setattr(listing, "STREAMS_AT_ONCE", 2)
    orders = [
        {"order_id": f"o-{number}", "seller_id": "s-7", "amount_minor": 100} for number in range(3)
    ]

    async def work(world: ApiWorld) -> None:
        made = await make(world, 5, orders=orders)  # six rows each
        newest = made[::-1]
        found = await pages(world, "/v1/payments", limit=50)
        assert found == [newest[:2], newest[2:4], newest[4:]]
        found = await pages(world, "/v1/payments", limit=2)
        assert [each for page in found for each in page] == newest
        found = await pages(world, "/v1/payments", limit=50, status="failed")
        assert found == [[], [], []]

    within(work)


@pytest.mark.parametrize("query", ["", "?buyer_id=b-3", "?seller_id=s-7"])
def test_a_list_that_takes_too_long_asks_for_less(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_long(*_: object) -> list[Any]:
        raise TookTooLong("PostgreSQL at db-7 gives no answer within 5 s")

    async def work(world: ApiWorld) -> None:
        await make(world, 1)
        monkeypatch.setattr(world.parts.listing, "_found", too_long)
        async with world.client() as client:
            answer = await client.get(f"/v1/payments{query}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "shorter period" in answer.json()["detail"]
        assert "db-7" not in answer.text

    within(work)


def test_transactions_of_both_directions() -> None:
    async def work(world: ApiWorld) -> None:
        [paid] = await make(world, 1, buyer_id="s-7")
        assert await pages(world, "/transactions/s-7") == [[paid]]
        assert await pages(world, "/transactions/s-7", direction="in") == [[paid]]
        assert await pages(world, "/transactions/s-7", direction="out") == [[]]
        assert await pages(world, "/transactions/s-7", status="failed") == [[]]

    within(work)


def test_a_payout_is_scheduled_once_a_minute_or_a_key() -> None:
    async def work(world: ApiWorld) -> None:
        content = {"merchant_id": "s-7", "amount": "1.00", "currency": "EUR"}
        async with world.client("finance") as client:
            poor = await client.post("/payouts/schedule", json=content)
            assert (poor.status_code, poor.json()["code"]) == (422, "payout_above_balance")
            assert poor.json()["field"] == "/amount"
            none = await client.post("/payouts/schedule", json=content | {"amount": "0"})
            assert (none.status_code, none.json()["code"]) == (422, "amount_not_positive")
            wrong = await client.post("/payouts/schedule", json=content, headers=key(" "))
            assert wrong.status_code == 400

    within(work)

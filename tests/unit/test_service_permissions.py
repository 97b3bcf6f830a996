"""The authorisation matrix: every operation, every role, own things and somebody else's.

`EXPECTED` states it independently of the table in `service.permissions`; the test walks all of it
over HTTP, so that a route without its check is found too.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

import pytest

from schemas.errors import Rejection
from schemas.ids import PaymentId
from service.permissions import ALLOWED, Operation
from service.roles import Role
from service.routes import ROUTES
from tests.builders import a_payout, change
from tests.service_world import ApiWorld, body, key
from writer.commands import Release

OWNER, OTHER = "me", "somebody-else"

# Role by role: own things, others' things; 1 allowed, 0 not.
#                        buyer seller service finance admin
EXPECTED = {
    "create_payment":        "10 00 11 00 11",
    "get_payment":           "10 00 11 11 11",
    "list_payments":         "10 00 11 11 11",
    "confirm_payment":       "10 00 11 00 11",
    "capture_payment":       "00 00 11 00 11",
    "cancel_payment":        "00 00 11 00 11",
    "ship_orders":           "00 00 11 00 11",
    "deliver_orders":        "00 00 11 00 11",
    "refund_payment":        "00 00 11 00 11",
    "issue_idempotency_key": "11 11 11 11 11",
    "buyer_orders":          "10 00 11 11 11",
    "seller_revenue":        "00 10 11 11 11",
    "seller_balance":        "00 10 11 11 11",
    "seller_statement":      "00 10 11 11 11",
    "init_payment":          "10 00 11 00 11",
    "confirm_init":          "10 00 11 00 11",
    "schedule_payout":       "00 00 00 11 11",
    "user_transactions":     "10 10 11 11 11",
}  # fmt: skip
HIDDEN = {"get_payment", "confirm_payment", "confirm_init"}
"""Whose existence is a secret: somebody else's is answered with 404."""
ROLES = ("buyer", "seller", "service", "finance", "admin")
ROUTE_OF = {route.operation.value: route for route in ROUTES}


def test_every_operation_is_in_both_tables() -> None:
    assert set(EXPECTED) == {operation.value for operation in ALLOWED}
    assert set(EXPECTED) == set(ROUTE_OF) == set(Operation)
    assert set(ROLES) == set(Role)


@pytest.fixture(scope="module")
def world() -> Iterator[ApiWorld]:
    made = ApiWorld()
    yield made
    made.close()


def request_for(operation: str, owner: str, payment_id: str) -> dict[str, Any]:
    """A request about something of this owner."""
    route = ROUTE_OF[operation]
    request: dict[str, Any] = {
        "method": route.method,
        "url": route.path.format(
            payment_id=payment_id, buyer_id=owner, seller_id=owner, user_id=owner
        )
        if "{" in route.path
        else route.path,
    }
    if route.method == "POST":
        request["headers"] = key()
    if operation == "list_payments":
        request["params"] = {"buyer_id": owner}
    bodies = {
        "create_payment": body(buyer_id=owner),
        "init_payment": {
            "user_id": owner,
            "merchant_id": "s-7",
            "amount": "1.00",
            "currency": "EUR",
            "card_token": "ok",
        },
        "confirm_init": {"tx_id": payment_id, "payment_method": "card"},
        "schedule_payout": {"merchant_id": owner, "amount": "1.00", "currency": "EUR"},
    }
    if operation in bodies:
        request["json"] = bodies[operation]
    return request


async def payment_of(world: ApiWorld, owner: str, operation: str) -> str:
    """A payment for the operation: one to be confirmed, or one that is paid."""
    if "confirm" not in operation:
        return cast(str, (await world.paid(buyer_id=owner))["id"])
    async with world.client() as client:
        answer = await client.request(**request_for("init_payment", owner, ""))
    return cast(str, answer.json()["tx_id"])


async def ask(world: ApiWorld, operation: str, role: str, owner: str) -> Any:
    payment_id = await payment_of(world, owner, operation)
    async with world.client(role, OWNER) as client:
        return await client.request(**request_for(operation, owner, payment_id))


@pytest.mark.parametrize("operation", EXPECTED)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("owner", [OWNER, OTHER])
def test_the_matrix(world: ApiWorld, operation: str, role: str, owner: str) -> None:
    cell = EXPECTED[operation].split()[ROLES.index(role)]
    is_allowed = cell["10".index("1") if owner == OWNER else 1] == "1"
    answer = asyncio.run(ask(world, operation, role, owner))
    if is_allowed:
        assert answer.status_code not in (401, 403, 404), answer.text
    elif operation in HIDDEN and cell == "10":
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_payment")
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text


@pytest.mark.parametrize("operation", EXPECTED)
@pytest.mark.parametrize("scope", ["", "nobody"])
def test_nobody_and_a_token_without_a_role_do_nothing(
    world: ApiWorld, operation: str, scope: str
) -> None:
    async def ask_as_nobody() -> Any:
        payment_id = await payment_of(world, OWNER, operation)
        async with world.client(scope, OWNER) as client:
            return await client.request(**request_for(operation, OWNER, payment_id))

    answer = asyncio.run(ask_as_nobody())
    assert answer.status_code == (403 if scope else 401)
    assert ("www-authenticate" in answer.headers) == (not scope)


def test_the_furthest_of_several_roles_counts(world: ApiWorld) -> None:
    answer = asyncio.run(ask(world, "get_payment", "buyer finance", OTHER))
    assert answer.status_code == 200


def test_a_hidden_payment_looks_like_none(world: ApiWorld) -> None:
    async def both() -> list[Any]:
        other = (await world.paid(buyer_id=OTHER))["id"]
        headers = {"X-Request-Id": "same"}
        async with world.client("buyer", OWNER) as client:
            return [
                await client.get(f"/v1/payments/{each}", headers=headers)
                for each in (other, "00000000-0000-0000-0000-000000000000")
            ]

    hidden, missing = asyncio.run(both())
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)


def test_a_buyers_list_is_its_own(world: ApiWorld) -> None:
    async def listed() -> Any:
        await world.paid(buyer_id=OWNER)
        await world.paid(buyer_id=OTHER)
        async with world.client("buyer", OWNER) as client:
            return (await client.get("/v1/payments")).json()["data"]

    assert {each["buyer_id"] for each in asyncio.run(listed())} == {OWNER}


@pytest.mark.parametrize(
    ("role", "shown"),
    [
        ("buyer", {"in"}),
        ("seller", {"out"}),
        ("buyer seller", {"in", "out"}),
        ("service", {"in", "out"}),
        ("finance", {"in", "out"}),
        ("admin", {"in", "out"}),
    ],
)
@pytest.mark.parametrize("asked", [None, "in", "out"])
def test_a_buyer_and_a_seller_of_one_id_do_not_see_each_others_transactions(
    world: ApiWorld, role: str, shown: set[str], asked: str | None
) -> None:
    async def listed() -> list[str]:
        await seller_with_a_payout(world, "17")
        async with world.client(role, "17") as client:
            params = {"direction": asked} if asked else {}
            answer = await client.get("/transactions/17", params=params)
        assert answer.status_code == 200, answer.text
        return [each["direction"] for each in answer.json()["data"]]

    assert set(asyncio.run(listed())) == (shown & {asked} if asked else shown)


async def seller_with_a_payout(world: ApiWorld, user_id: str) -> None:
    """Somebody who bought something and, under the same id, sold something and was paid out."""
    order = {"order_id": "o-1", "seller_id": user_id, "amount_minor": 500}
    paid = await world.paid(buyer_id=user_id, orders=[order])
    release = change(Release, PaymentId(UUID(paid["id"])))
    for command in (release, a_payout(seller_id=user_id, amount_minor=100)):
        assert not isinstance(await world.writer.handle(command), Rejection)

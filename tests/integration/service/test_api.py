"""The API on real servers: payments from end to end, by two processes that behave as one."""

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from tests.integration.service.world import Client, RealApi, payment, second_process

pytestmark = pytest.mark.integration

PROCESSOR_SECONDS = 6.0  # less than the API waits for it
LOOKS_MOST = 500


def charges_of(api: RealApi, payment_id: str) -> list[dict[str, Any]]:
    """The simulator's charges of a payment."""
    return [charge for charge in api.charges() if charge["payment_id"] == payment_id]


def payments_recorded(api: RealApi) -> int:
    """How many payments there are."""
    with psycopg.connect(api.stack.endpoints.postgres_reader_dsn) as connection:
        found = connection.execute("SELECT count(DISTINCT payment_id) FROM payments").fetchone()
    assert found is not None
    return int(found[0])


def listens(url: str) -> bool:
    """Whether a new connection is taken."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_authorize_capture_refund(api: RealApi) -> None:
    async def work(client: Client) -> None:
        made = await client.create(capture="manual")
        assert (made.status, made.json["status"]) == (201, "authorized")
        path = f"/v1/payments/{made.json['id']}"
        captured = await client.send("POST", f"{path}/capture", json={}, process=1)
        assert (captured.status, captured.json["captured_minor"]) == (200, 2500)
        refund = await client.send("POST", f"{path}/refunds", json={"amount_minor": 1000})
        assert refund.status == 201
        found = await client.until(path, lambda now: now["refunded_minor"] == 1000)
        types = [event["type"] for event in found["history"]]
        assert types == [
            "created", "authorized", "capture_requested", "captured", "refund_requested",
            "refunded",
        ]  # fmt: skip
        too_much = await client.send("POST", f"{path}/refunds", json={"amount_minor": 1501})
        assert (too_much.status, too_much.json["code"]) == (422, "refund_above_captured")

    api.run(work)


@pytest.mark.parametrize(
    ("token", "return_url", "status", "code"),
    [
        ("pm_card_visa", None, 201, None),
        ("pm_card_chargeDeclined", None, 402, "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", None, 402, "insufficient_funds"),
        ("pm_card_authenticationRequired", "https://shop.example/thanks", 201, None),
        ("pm_card_authenticationRequired", None, 402, "authentication_required"),
    ],
)
def test_the_answer_is_the_same_from_both_processes(
    api: RealApi, token: str, return_url: str | None, status: int, code: str | None
) -> None:
    async def work(client: Client) -> None:
        key = str(uuid4())
        body = payment(payment_token=token) | ({"return_url": return_url} if return_url else {})
        answers = [
            await client.send("POST", "/v1/payments", key=key, json=body, process=number % 2)
            for number in range(4)
        ]
        assert {answer.status for answer in answers} == {status}, answers[0]
        assert len({answer.body for answer in answers}) == 1
        replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
        assert replayed == [None, "true", "true", "true"]
        if code is not None:
            assert answers[0].json["failure"]["code"] == code

    api.run(work)


def test_a_thousand_submits_of_one_key_charge_once(api: RealApi) -> None:
    async def work(client: Client) -> str:
        body, key = payment(), str(uuid4())

        async def submit(number: int) -> Any:
            return await client.send("POST", "/v1/payments", key=key, json=body, process=number % 2)

        answers = await asyncio.gather(*map(submit, range(1000)))
        statuses = {answer.status for answer in answers}
        assert statuses <= {201, 409}, statuses
        final = {answer.body for answer in answers if answer.status == 201}
        assert len(final) == 1
        payment_id: str = next(a for a in answers if a.status == 201).json["id"]
        return payment_id

    payment_id = api.run(work)
    assert len(charges_of(api, payment_id)) == 1


def test_refunds_at_once_never_exceed_what_was_taken(api: RealApi) -> None:
    async def work(client: Client) -> None:
        path = f"/v1/payments/{(await client.create()).json['id']}"
        answers = await asyncio.gather(
            *(
                client.send(
                    "POST", f"{path}/refunds", json={"amount_minor": 800}, process=number % 2
                )
                for number in range(20)
            )
        )
        assert sorted(answer.status for answer in answers) == [201] * 3 + [422] * 17
        await client.until(path, lambda now: now["refunded_minor"] == 2400)

    api.run(work)


def test_the_views_follow_and_say_how_far(api: RealApi) -> None:
    seller, buyer = f"s-{uuid4()}", f"b-{uuid4()}"

    async def work(client: Client) -> None:
        made = [
            (await client.create(seller_id=seller, buyer_id=buyer)).json["id"] for _ in range(3)
        ]
        # In its buyer's list at once, also while the views do not have it.
        newest = (await client.send("GET", f"/v1/payments?buyer_id={buyer}", process=1)).json
        assert [each["id"] for each in newest["data"]] == made[::-1]
        before = (await client.send("GET", f"/v1/payments/{made[-1]}")).json["updated_at"]
        revenue = await client.until(
            f"/v1/sellers/{seller}/revenue", lambda now: (now["as_of"] or "") > before
        )
        # From then on everything must be there.
        assert revenue["data"][0]["gross_minor"] == 7500
        balance = (await client.send("GET", f"/v1/sellers/{seller}/balance")).json
        assert balance["data"][0]["pending_minor"] == 6450
        statement = (await client.send("GET", f"/v1/sellers/{seller}/statement?limit=2")).json
        assert [line["pending_minor"] for line in statement["data"]] == [2150, 2150]
        following = await client.send(
            "GET",
            f"/v1/sellers/{seller}/statement?limit=2&cursor={statement['next_cursor']}",
            process=1,
        )
        assert [line["pending_minor"] for line in following.json["data"]] == [2150]
        assert statement["balances"][0]["closing_pending_minor"] == 6450
        orders = (await client.send("GET", f"/v1/buyers/{buyer}/orders?limit=2")).json
        assert len(orders["data"]) == 2
        rest = f"/v1/buyers/{buyer}/orders?limit=2&cursor={orders['next_cursor']}"
        assert len((await client.send("GET", rest)).json["data"]) == 1
        for path in (f"/v1/payments?buyer_id={buyer}", f"/v1/payments?seller_id={seller}"):
            first = (await client.send("GET", f"{path}&limit=2")).json
            assert [each["id"] for each in first["data"]] == made[:0:-1]
            rest = (await client.send("GET", f"{path}&limit=2&cursor={first['next_cursor']}")).json
            assert [each["id"] for each in rest["data"]] == made[:1]
        lines = (await client.send("GET", f"/transactions/{buyer}?direction=in")).json
        assert [line["tx_id"] for line in lines["data"]] == made[::-1]

    api.run(work)


def test_as_of_advances_without_traffic(api: RealApi) -> None:
    async def work(client: Client) -> None:
        path = "/v1/sellers/nobody/balance"
        first = await client.until(path, lambda now: now["as_of"] is not None)
        await client.until(path, lambda now: now["as_of"] > first["as_of"])

    api.run(work)


def test_a_hosted_payment_leads_to_the_processors_page(api: RealApi) -> None:
    async def work(client: Client) -> None:
        made = await client.create(
            flow="hosted", payment_token=None, return_url="https://shop.example/thanks"
        )
        assert (made.status, made.json["status"]) == (201, "action_required")
        assert made.json["next_action"]["url"].startswith(api.stack.endpoints.simulator_url)

    api.run(work)


def test_the_older_names_charge_once(api: RealApi) -> None:
    async def work(client: Client) -> str:
        init = {
            "user_id": "b-9", "merchant_id": "s-9", "amount": "25.00", "currency": "EUR",
            "card_token": "pm_card_visa",
        }  # fmt: skip
        made = await client.send("POST", "/payments/init", json=init)
        assert made.json["status"] == "created"
        content = {"tx_id": made.json["tx_id"], "payment_method": "card"}
        answers = await asyncio.gather(
            *(
                client.send("POST", "/payments/confirm", json=content, process=number % 2)
                for number in range(10)
            )
        )
        assert {answer.status for answer in answers} <= {200, 409}
        last = await client.send("POST", "/payments/confirm", json=content)
        assert (last.status, last.json["captured_minor"]) == (200, 2500)
        tx_id: str = made.json["tx_id"]
        return tx_id

    tx_id = api.run(work)
    assert len(charges_of(api, tx_id)) == 1


def test_a_process_that_stops_finishes_its_requests(api: RealApi) -> None:
    """The processor answers after the process has been told to stop; others come too late."""
    with (
        second_process(api.stack) as (url, process),
        api.held_worker(),
        api.slow_processor(PROCESSOR_SECONDS),
    ):
        before = payments_recorded(api)

        async def work(client: Client) -> None:
            client.api = RealApi(api.stack, (url, url), process)
            requests = [asyncio.create_task(client.create()) for _ in range(20)]
            await until(lambda: payments_recorded(api) == before + len(requests))
            process.send_signal(signal.SIGTERM)
            await until(lambda: not listens(url))
            assert not any(request.done() for request in requests)
            answers = await asyncio.gather(*requests)
            assert {answer.status for answer in answers} == {201}

        api.run(work)
        assert process.wait(30) == 128 + signal.SIGTERM


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, beside requests that are under way."""
    for _ in range(LOOKS_MOST):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")

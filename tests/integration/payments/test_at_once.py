"""The same thing asked for many times at once, through two processes of the API side by side."""

import asyncio
from collections import Counter
from uuid import uuid4

import psycopg

from marketplace.api_client import Answer, ApiClient, ApiReport
from tests.payments_stack import PaymentsStack, a_request, change, create

SUBMITS = 1_000
REFUNDS = 60


async def _submit(stack: PaymentsStack, urls: tuple[str, str], faults: bool) -> list[Answer]:
    key, body = uuid4().hex, a_request()
    report = ApiReport()
    if faults:
        await stack.put_faults(7, {"timeout_after_commit": 0.4, "http_500": 0.2, "http_409": 0.2})
    try:
        async with stack.client(urls[0], report) as one, stack.client(urls[1], report) as other:
            clients = (one, other)
            return await asyncio.gather(
                *(create(clients[number % 2], key, body) for number in range(SUBMITS))
            )
    finally:
        await stack.end_faults()


def test_a_thousand_submits_of_one_key_are_one_charge(payments_stack: PaymentsStack) -> None:
    """However many clients, processes and failures of the PSP there are in between."""
    stack = payments_stack
    with stack.another_api() as second:
        urls = (stack.api_url, second)
        for faults in (False, True):
            answers = asyncio.run(_submit(stack, urls, faults))
            assert len(answers) == SUBMITS
            first = answers[0]
            assert first.status in ((201, 202) if faults else (201,))
            assert [each for each in answers if each.same != first.same] == []
            assert sum(each.replayed for each in answers) >= SUBMITS - 1
            payment = first.payment["id"]
            charges = asyncio.run(stack.charges())
            mine = [each for each in charges if each["payment_id"] == payment]
            # Unknown (202) may also mean that the PSP never did it.
            assert len(mine) in ((1,) if first.status == 201 else (0, 1)), mine
            assert _rows(stack, payment)["created"] == 1


def _rows(stack: PaymentsStack, payment: str) -> Counter[str]:
    with psycopg.connect(stack.stack.endpoints.postgres_reader_dsn) as session:
        found = session.execute(
            "SELECT event_type FROM payments WHERE payment_id = %s", [payment]
        ).fetchall()
    return Counter(event_type for (event_type,) in found)


def test_refunds_at_once_never_exceed_the_capture(payments_stack: PaymentsStack) -> None:
    stack = payments_stack
    with stack.another_api() as second:
        payment, answers = asyncio.run(_refund(stack, (stack.api_url, second)))
    statuses = Counter(each.status for each in answers)
    assert statuses[201] == 10, statuses  # of 100 each; 1,000 were captured
    assert set(statuses) <= {201, 409, 422}, statuses
    listed = asyncio.run(
        stack.ask_simulator(
            "GET", f"/v1/refunds?payment_intent={payment['psp_reference']}&limit=100"
        )
    )
    assert sum(each["amount"] for each in listed["data"]) == 1_000
    assert _rows(stack, payment["id"])["refunded"] == 10
    # What the other test has left in doubt waits for a worker, and there is none: a charge whose
    # answer was lost is at the PSP only.
    ended = stack.books(grace=600.0)
    differing = {each["payment_id"]: each["state"] for each in ended.json["differences"]}
    assert payment["id"] not in differing, ended
    assert set(differing.values()) <= {"under_way"}, ended
    assert ended.status == (2 if differing else 0), ended


async def _refund(
    stack: PaymentsStack, urls: tuple[str, str]
) -> tuple[dict[str, str], list[Answer]]:
    name = uuid4().hex
    async with stack.client(urls[0]) as one, stack.client(urls[1]) as other:
        created = await create(one, name, a_request(amount=1_000))
        assert created.status == 201
        payment = dict(created.payment)
        clients: tuple[ApiClient, ApiClient] = (one, other)
        answers = await asyncio.gather(
            *(
                change(
                    clients[number % 2],
                    payment["id"],
                    "refunds",
                    f"{name}-{number}",
                    amount_minor=100,
                )
                for number in range(REFUNDS)
            )
        )
    return payment, answers

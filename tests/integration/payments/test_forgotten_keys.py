"""A PSP forgets an idempotency key after 24 hours: what is in doubt is looked up, not repeated.

While the outcome of a payment is not known, nobody works on it for more than a day. Afterwards the
same request at the PSP would be a second charge.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import uuid4

import pytest

from marketplace.api_client import Answer
from tests.payments_stack import PaymentsStack, a_request, create, whole_payments_stack

FORGOTTEN_SECONDS = 26 * 3600
PAYMENTS = 6
WORKER = "payins-worker"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack() -> Iterator[PaymentsStack]:
    with whole_payments_stack() as started:
        yield started


async def _in_doubt(
    stack: PaymentsStack, faults: Mapping[str, object]
) -> list[tuple[str, dict[str, object], Answer]]:
    """Payments whose outcome the API could not learn: key, request and answer of each."""
    await stack.put_faults(3, {"webhook_lost": 1.0, **faults})
    requests = [(uuid4().hex, a_request()) for _ in range(PAYMENTS)]
    async with stack.client() as client:
        answers = await asyncio.gather(*(create(client, key, body) for key, body in requests))
    await stack.end_faults()
    return [(*request, answer) for request, answer in zip(requests, answers, strict=True)]


@pytest.mark.parametrize(
    ("faults", "charged"),
    [
        ({"timeout_after_commit": 1.0, "hang_seconds": 0.1}, True),  # made, and nobody was told
        ({"http_500": 1.0}, False),  # not made, which nobody knows either
    ],
    ids=["charged", "not charged"],
)
def test_a_payment_in_doubt_for_a_day_is_not_charged_twice(
    stack: PaymentsStack, faults: Mapping[str, object], charged: bool
) -> None:
    stack.stack.stop(WORKER)
    doubtful = asyncio.run(_in_doubt(stack, faults))
    assert {answer.status for *_, answer in doubtful} == {202}
    ids = [answer.payment["id"] for *_, answer in doubtful]
    # Both sides agree that a day has passed.
    stack.grow_older(FORGOTTEN_SECONDS)
    asyncio.run(stack.advance(FORGOTTEN_SECONDS))
    # The client asks again first, then the worker is there again.
    again = asyncio.run(_again(stack, doubtful))
    assert [each.same for each in again] == [answer.same for *_, answer in doubtful]
    stack.stack.start(WORKER)
    stack.stack.wait_ready(WORKER)
    stack.settle(240.0)

    charges = Counter(each["payment_id"] for each in asyncio.run(stack.charges()))
    statuses = stack.statuses()
    for payment in ids:
        assert charges[payment] == (1 if charged else 0), stack.story(payment)
        # Without a charge it is too late to make one: the buyer has gone.
        assert statuses[payment] == ("captured" if charged else "expired"), stack.story(payment)
    again = asyncio.run(_again(stack, doubtful))
    assert [each.same for each in again] == [answer.same for *_, answer in doubtful]
    ended = stack.books(timeout=60.0)
    assert ended.status == 0, ended


async def _again(
    stack: PaymentsStack, requests: list[tuple[str, dict[str, object], Answer]]
) -> list[Answer]:
    async with stack.client() as client:
        return [await create(client, key, body) for key, body, _ in requests]

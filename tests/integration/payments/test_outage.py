"""Time passes while something is in doubt: a day, after which the PSP has forgotten, and a week.

A PSP forgets an idempotency key after 24 hours: the same request would then be a second charge. So
what has been in doubt for longer is looked up and not repeated.

In the week without us, life at the PSP goes on and no webhook arrives. When it begins, payments are
in every state in which something is still to come. During it buyers pay on the PSP's page or leave,
banks answer, dispute and let go, and somebody refunds by hand. Afterwards the worker asks.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import uuid4

import pytest

from marketplace.api_client import Answer, ApiClient
from marketplace.browser import Browser
from marketplace.pending import open_requests
from marketplace.purchases import Choice
from marketplace.shopping import BUTTONS, GOOD_CARD
from tests.payments_stack import PaymentsStack, a_request, change, create, whole_payments_stack
from tests.waiting import wait_until

DAY = 86_400
FORGOTTEN_SECONDS = 26 * 3600
PAYMENTS_IN_DOUBT = 6
WORKER = "payins-worker"
OUTAGE_SECONDS = 8 * DAY
OURS = ("api", WORKER)
OPEN = ("created", "unknown", "processing", "action_required", "authorized")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack() -> Iterator[PaymentsStack]:
    with whole_payments_stack() as started:
        yield started


# -- a week


Paid = dict[str, dict[str, str]]
"""What was bought -> the answer's payment."""


async def _wait_until_paying(client: ApiClient) -> None:
    """The API's circuit breaker may still be open after the faults of another test."""
    for _ in range(120):
        if (await create(client, uuid4().hex, a_request())).status == 201:
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the API does not charge again")


async def _bought(stack: PaymentsStack) -> Paid:
    name = uuid4().hex
    wanted = {
        "captured": a_request(),
        "to be refunded by hand": a_request(amount=5_000),
        "disputed": a_request(payment_token="pm_card_createDispute"),
        "authorized": a_request(capture="manual"),
        "by bank": a_request(method="bank_transfer", payment_token="pm_success_at"),
        "by a bank that fails": a_request(method="bank_transfer", payment_token="pm_failed_at"),
        "left at the bank's page": a_request(
            payment_token="pm_card_authenticationRequired",
            return_url="https://shop.example/thanks",
        ),
        "paid on the page": _hosted(),
        "left on the page": _hosted(),
    }
    paid: Paid = {}
    async with stack.client() as client:
        await _wait_until_paying(client)
        for what, body in wanted.items():
            answer = await create(client, f"{name}-{what}".replace(" ", "-"), body)
            assert answer.status in (201, 202), (what, answer)
            paid[what] = dict(answer.payment)
        await stack.put_faults(5, {"webhook_lost": 1.0, "timeout_after_commit": 1.0})
        for number in range(3):
            answer = await create(client, f"{name}-doubt-{number}", a_request())
            assert answer.status in (201, 202), answer  # the worker may have found it by now
            paid[f"in doubt {number}"] = dict(answer.payment)
        await _refund_in_doubt(client, paid["captured"]["id"], name)
        await stack.put_faults(5, {"webhook_lost": 1.0})
    return paid


def _hosted() -> dict[str, object]:
    request = a_request(flow="hosted", return_url="https://shop.example/thanks")
    del request["payment_token"]
    return request


async def _refund_in_doubt(client: ApiClient, payment: str, name: str) -> None:
    answer = await change(client, payment, "refunds", f"{name}-refund", amount_minor=700)
    assert answer.status in (201, 202), answer


async def _life_goes_on(stack: PaymentsStack, paid: Paid) -> None:
    url = paid["paid on the page"]["next_action"]["url"]  # type: ignore[index]
    async with Browser() as browser:
        visit = await browser.visit(url, BUTTONS[Choice.PAY], GOOD_CARD)
        assert visit.status < 400, visit
    reference = paid["to be refunded by hand"]["psp_reference"]
    await stack.ask_simulator(
        "POST", "/v1/refunds", form={"payment_intent": reference, "amount": 1_234}
    )
    for _ in range(OUTAGE_SECONDS // DAY):
        await stack.advance(DAY)


def _open_requests(stack: PaymentsStack) -> dict[str, int]:
    """Captures, cancellations and refunds that were asked for and have no outcome."""
    found = open_requests(stack.stack.endpoints.postgres_reader_dsn)
    return {what: times for what, times in found.items() if what != "charge"}


def test_a_week_s_outage_resolves_completely(stack: PaymentsStack) -> None:
    paid = asyncio.run(_bought(stack))
    for name in OURS:
        stack.stack.stop(name)
    asyncio.run(_life_goes_on(stack, paid))
    stack.grow_older(OUTAGE_SECONDS)  # here, too, the time has passed
    asyncio.run(stack.end_faults())
    for name in reversed(OURS):
        stack.stack.start(name)
    for name in OURS:
        stack.stack.wait_ready(name)

    ours = {payment["id"] for payment in paid.values()}
    wait_until(
        lambda: not ours & stack.in_doubt(OPEN) and not _open_requests(stack),
        "everything resolved",
        seconds=300.0,
        seen=lambda: (
            _open_requests(stack),
            [stack.story(each) for each in ours & stack.in_doubt(OPEN)],
        ),
    )
    statuses = stack.statuses()
    found = {what: statuses[payment["id"]] for what, payment in paid.items()}
    assert found == {
        "captured": "captured",
        "to be refunded by hand": "captured",
        "disputed": "captured",
        "authorized": "expired",  # the bank let go
        "by bank": "captured",
        "by a bank that fails": "failed",
        "left at the bank's page": "cancelled",  # by us: the buyer did not come back
        "paid on the page": "captured",
        "left on the page": "expired",
        **{f"in doubt {number}": "captured" for number in range(3)},
    }
    ended = stack.books(timeout=120.0, grace=60.0)
    assert ended.status == 0, ended
    totals = {t["kind"]: t["actual"] for t in ended.json["totals"]}
    assert totals["refunds"] == {"count": 2, "amount_minor": 1_934}
    assert totals["disputes_taken"]["count"] == 1
    charges = Counter(
        each["payment_id"]
        for each in asyncio.run(stack.charges())
        if each["status"] in ("succeeded", "pending")
    )
    assert max(charges.values()) == 1
    assert all(charges[payment["id"]] == 1 for payment in paid.values()
               if statuses[payment["id"]] == "captured")  # fmt: skip


# -- a day


Doubtful = list[tuple[str, dict[str, object], Answer]]
"""Key, request and answer of payments whose outcome the API could not learn."""


async def _in_doubt(stack: PaymentsStack, faults: Mapping[str, object]) -> Doubtful:
    await stack.put_faults(3, {"webhook_lost": 1.0, **faults})
    requests = [(uuid4().hex, a_request()) for _ in range(PAYMENTS_IN_DOUBT)]
    async with stack.client() as client:
        answers = await asyncio.gather(*(create(client, key, body) for key, body in requests))
    await stack.end_faults()
    return [(*request, answer) for request, answer in zip(requests, answers, strict=True)]


async def _again(stack: PaymentsStack, requests: Doubtful) -> list[Answer]:
    async with stack.client() as client:
        return [await create(client, key, body) for key, body, _ in requests]


def test_a_payment_in_doubt_for_a_day_is_not_charged_twice(stack: PaymentsStack) -> None:
    stack.stack.stop(WORKER)
    # Some were made, and nobody was told; some were not made, which nobody knows either.
    charged = asyncio.run(_in_doubt(stack, {"timeout_after_commit": 1.0, "hang_seconds": 0.1}))
    absent = asyncio.run(_in_doubt(stack, {"http_500": 1.0}))
    doubtful = [*charged, *absent]
    assert {answer.status for *_, answer in doubtful} == {202}
    # Both sides agree that a day has passed.
    stack.grow_older(FORGOTTEN_SECONDS)
    asyncio.run(stack.advance(FORGOTTEN_SECONDS))
    # The client asks again first, then the worker is there again.
    again = asyncio.run(_again(stack, doubtful))
    assert [each.same for each in again] == [answer.same for *_, answer in doubtful]
    stack.stack.start(WORKER)
    stack.stack.wait_ready(WORKER)

    found = [answer.payment["id"] for *_, answer in charged]
    wait_until(
        lambda: {stack.statuses()[payment] for payment in found} == {"captured"},
        "the charges found",
        seconds=120.0,
        seen=lambda: [stack.story(payment) for payment in found],
    )
    charges = Counter(each["payment_id"] for each in asyncio.run(stack.charges()))
    assert {charges[payment] for payment in found} == {1}
    # It is too late to charge the others: the buyer has gone. That they expire takes some minutes.
    statuses = stack.statuses()
    for *_, answer in absent:
        payment = answer.payment["id"]
        assert charges[payment] == 0, stack.story(payment)
        assert statuses[payment] in ("unknown", "expired"), stack.story(payment)
    again = asyncio.run(_again(stack, doubtful))
    assert [each.same for each in again] == [answer.same for *_, answer in doubtful]
    ended = stack.books(timeout=60.0, grace=60.0)
    assert ended.status == 0, ended

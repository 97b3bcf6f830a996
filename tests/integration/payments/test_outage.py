"""A week without us: at the PSP life goes on, no webhook arrives, and afterwards all is resolved.

When the outage begins, payments are in every state in which something is still to come. During it
buyers pay on the PSP's page or leave, banks answer, dispute and let go, and somebody refunds by
hand. Events are listed for 30 days, so the worker catches up by asking.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import pytest

from marketplace.api_client import ApiClient
from marketplace.browser import Browser
from marketplace.pending import open_requests
from marketplace.purchases import Choice
from marketplace.shopping import BUTTONS, GOOD_CARD
from tests.payments_stack import PaymentsStack, a_request, change, create, whole_payments_stack
from tests.waiting import wait_until

DAY = 86_400
OUTAGE_SECONDS = 8 * DAY
OURS = ("api", "payins-worker")
OPEN = ("created", "unknown", "processing", "action_required", "authorized")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack() -> Iterator[PaymentsStack]:
    with whole_payments_stack() as started:
        yield started


Paid = dict[str, dict[str, str]]
"""What was bought -> the answer's payment."""


async def _bought(stack: PaymentsStack) -> Paid:
    name = uuid4().hex
    wanted = {
        "captured": a_request(),
        "to be refunded by hand": a_request(amount=5_000),
        "disputed": a_request(payment_token="pm_card_createDispute"),
        "authorized": a_request(capture="manual"),
        "by bank": a_request(method="bank_transfer", payment_token="pm_success_at"),
        "by a bank that fails": a_request(method="bank_transfer", payment_token="pm_failed_at"),
        "left at the bank's page": a_request(payment_token="pm_card_authenticationRequired"),
        "paid on the page": _hosted(),
        "left on the page": _hosted(),
    }
    paid: Paid = {}
    async with stack.client() as client:
        for what, body in wanted.items():
            answer = await create(client, f"{name}-{what}".replace(" ", "-"), body)
            assert answer.status in (201, 202), (what, answer)
            paid[what] = dict(answer.payment)
        await stack.put_faults(5, {"webhook_lost": 1.0, "timeout_after_commit": 1.0})
        for number in range(3):
            answer = await create(client, f"{name}-doubt-{number}", a_request())
            assert answer.status == 202, answer
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

    dsn = stack.stack.endpoints.postgres_reader_dsn
    wait_until(
        lambda: not stack.in_doubt(OPEN) and not open_requests(dsn),
        "everything resolved",
        seconds=300.0,
        seen=lambda: (open_requests(dsn), [stack.story(each) for each in stack.in_doubt(OPEN)]),
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
    ended = stack.books(timeout=120.0)
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

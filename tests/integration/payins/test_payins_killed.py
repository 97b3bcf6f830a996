"""The service and the worker are killed while a faulty Stripe is paid: no cent is lost or doubled.

The auditor compares the simulator's own list of charges with the rows of PostgreSQL.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer

from connectors.charges import EventKind, ProcessorEvent
from payins.inbox import Inbox
from payins.journal import Journal
from payins.letters import DeadLetter
from payins.rebuild import Table, partition_of
from schemas.settings import CHECKOUT
from schemas.topics import PAYINS_DEAD_LETTERS_TOPIC, PAYMENTS_TOPIC
from stack.native import Stack
from tests.waiting import wait_until
from tests.whole_stack import whole_stack
from writer.append import Writer, open_writer
from writer.commands import Capture, CreatePayment, Fail, OrderLine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

PAYMENTS = 60
FAULTS = {
    "seed": 7,
    "plan": {
        "timeout_after_commit": 0.05,
        "http_500": 0.05,
        "http_429": 0.05,
        "http_409": 0.02,
        "webhook_lost": 1.0,
    },
}
SETTLE_SECONDS = 200


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with whole_stack(PURSER_EVENTS_POLL_SECONDS="2", PURSER_CHECKPOINT_SECONDS="1") as running:
        yield running


def environment(stack: Stack) -> dict[str, str]:
    endpoints = stack.endpoints
    return {
        **os.environ,
        **endpoints.environment(),
        **endpoints.outside({}),
        "PYTHONPATH": str(CHECKOUT),
    }


def service(stack: Stack, run: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.payins.service", run, "0", str(PAYMENTS)]
    return subprocess.Popen(command, env=environment(stack), cwd=CHECKOUT)


def rows(stack: Stack, run: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.endpoints.postgres_dsn) as connection:
        return connection.execute(
            "SELECT payment_id::text, seq, event_type, status, amount_minor, suspense_minor,"
            " psp_reference, order_id FROM public.payments WHERE order_id LIKE %s"
            " ORDER BY payment_id, seq",
            [f"{run}-o%"],
        ).fetchall()


def charges(stack: Stack) -> list[dict[str, Any]]:
    """Every charge of the simulator."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        url = f"{stack.endpoints.simulator_url}/_simulator/charges"
        answer = httpx.get(url, params={"limit": 100, **({"cursor": cursor} if cursor else {})})
        page = answer.json()
        found += page["data"]
        cursor = page.get("next_cursor") or ""
        if not cursor:
            return found


_SIGNS = {"captured": 1, "refunded": -1}
_IN_DOUBT = {"created", "unknown", "processing", "action_required"}


def in_doubt(stack: Stack, run: str) -> list[str]:
    """The payments that have no outcome yet."""
    last: dict[str, str] = {}
    open_requests: Counter[str] = Counter()
    for payment_id, _, event_type, status, *_ in rows(stack, run):
        last[payment_id] = status
        open_requests[payment_id] += event_type in ("capture_requested", "refund_requested")
        ended = ("captured", "capture_failed", "refunded", "refund_failed")
        if event_type in ended and open_requests[payment_id]:
            open_requests[payment_id] -= 1
    doubt = [payment for payment, status in last.items() if status in _IN_DOUBT]
    return doubt + [payment for payment, number in open_requests.items() if number]


def test_kill_9_of_service_and_worker_loses_and_doubles_nothing(stack: Stack) -> None:
    run = f"run-{uuid4().hex[:8]}"
    chosen = random.Random(run)
    control = f"{stack.endpoints.simulator_url}/_simulator/faults"
    httpx.put(control, json=FAULTS).raise_for_status()
    process = service(stack, run)
    for _ in range(4):
        time.sleep(chosen.uniform(1.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: stack.pid("payins-worker"), "the worker runs")
        stack.kill("payins-worker")
        process = service(stack, run)
    assert process.wait(timeout=120) == 0
    httpx.delete(control).raise_for_status()
    wait_until(lambda: not in_doubt(stack, run), "every outcome", seconds=SETTLE_SECONDS)
    audit(stack, run)


def audit(stack: Stack, run: str) -> None:
    """Compare the simulator's books with the rows: each charge is there once, to the cent."""
    recorded: Counter[str] = Counter()
    payments = set()
    for payment_id, _, event_type, _, amount_minor, suspense_minor, *_ in rows(stack, run):
        payments.add(payment_id)
        recorded[payment_id] += _SIGNS.get(event_type, 0) * amount_minor + suspense_minor
    assert len(payments) == PAYMENTS
    at_stripe: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for charge in charges(stack):
        if charge["payment_id"] in payments:
            at_stripe[charge["payment_id"]] += charge["captured_minor"] - charge["refunded_minor"]
            paid[charge["payment_id"]] += charge["captured_minor"] > 0
    assert {k: v for k, v in recorded.items() if v} == {k: v for k, v in at_stripe.items() if v}
    assert max(paid.values()) == 1, "a payment was charged twice"


def test_a_payments_partition_is_known_without_asking_kafka(stack: Stack) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": stack.endpoints.kafka_bootstrap,
            "group.id": uuid4().hex,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([PAYMENTS_TOPIC])
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        mine = {append(writer, each) for each in created(20)}
    found: dict[UUID, int] = {}

    def read() -> bool:
        for message in consumer.consume(500, timeout=1):
            if message.error() is None:
                key = json.loads(message.key() or b"")
                found[UUID(key["payment_id"])] = message.partition() or 0
        return mine <= found.keys()

    wait_until(read, "every payment is in the topic", seconds=60)
    consumer.close()
    assert {each: partition_of(each, 4) for each in found} == found


def created(count: int, order_id: str = "") -> list[CreatePayment]:
    """Payments that nobody is asked to charge."""
    return [
        CreatePayment(
            idempotency_key=uuid4().hex,
            occurred_at=datetime.now(UTC),
            buyer_id="buyer",
            currency="EUR",
            psp="stripe",
            method="card",
            orders=(
                OrderLine(order_id=order_id or uuid4().hex, seller_id="seller", amount_minor=500),
            ),
        )
        for _ in range(count)
    ]


def append(writer: Writer, command: CreatePayment) -> UUID:
    writer.handle(command)
    return command.payment_id


def test_what_the_inbox_holds_is_worked_off(stack: Stack) -> None:
    run = f"run-{uuid4().hex[:8]}"
    command = [sys.executable, "-m", "tests.integration.payins.service", run, "0", "1"]
    subprocess.run(command, env=environment(stack), cwd=CHECKOUT, check=True, timeout=60)
    reference = next(row[6] for row in rows(stack, run) if row[2] == "captured")
    [charge] = [each for each in charges(stack) if each["payment_intent"] == reference]
    dispute = {"charge": charge["charge"], "amount": 1050, "reason": "fraudulent"}
    url = stack.endpoints.simulator_url
    httpx.post(f"{url}/_simulator/disputes", json=dispute).raise_for_status()
    key = {"Authorization": f"Bearer {stack.endpoints.stripe_api_key}"}
    body = httpx.get(f"{url}/v1/events", headers=key, params={"limit": 1}).json()["data"][0]
    asyncio.run(put(stack, [json.dumps(body).encode()]))
    wait_until(
        lambda: [row[4:6] for row in rows(stack, run) if row[2] == "dispute_opened"],
        "the dispute is recorded",
    )
    assert [row[4:6] for row in rows(stack, run) if row[2] == "dispute_opened"] == [(1000, -50)]
    count = len(rows(stack, run))
    asyncio.run(put(stack, [json.dumps(body).encode()] * 3))
    done = f"evt_{uuid4().hex}"
    asyncio.run(put(stack, [b"the last one"], event_id=done))
    wait_until(lambda: done in asyncio.run(dead_letters(stack)), "the webhooks before are read")
    assert len(rows(stack, run)) == count


def test_a_webhook_that_cannot_be_read_is_a_dead_letter_and_blocks_nothing(stack: Stack) -> None:
    asyncio.run(put(stack, [b"not an event"], event_id=(event_id := f"evt_{uuid4().hex}")))
    wait_until(lambda: event_id in asyncio.run(dead_letters(stack)), "a dead letter")


def test_the_table_is_read_whole_in_pages_and_knows_who_claims_an_order(stack: Stack) -> None:
    order_id = f"order-{uuid4().hex}"
    payments = created(2, order_id)
    first, second = payments
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        for each in payments:
            writer.handle(each)
        capture = Capture(
            idempotency_key="capture", occurred_at=datetime.now(UTC), payment_id=first.payment_id
        )
        writer.handle(capture)
    table = Table(stack.endpoints.postgres_dsn, page_rows=7)

    async def read() -> list[tuple[UUID, int]]:
        return [(row.payment_id, row.seq) async for page in table.rows() for row in page]

    def claimed_beside(payment: CreatePayment) -> frozenset[str]:
        orders = frozenset({order_id, "another"})
        return asyncio.run(table.claimed(payment.payment_id, orders))

    seen = asyncio.run(read())
    assert seen == sorted(set(seen))
    assert {(first.payment_id, 1), (first.payment_id, 2), (second.payment_id, 1)} <= set(seen)
    # The first has paid the order, and the second can still do so, until it has failed.
    assert claimed_beside(second) == claimed_beside(first) == {order_id}
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        fail = Fail(
            idempotency_key="fail",
            occurred_at=datetime.now(UTC),
            payment_id=second.payment_id,
            reason="declined",
        )
        writer.handle(fail)
    assert claimed_beside(first) == frozenset()
    assert claimed_beside(second) == {order_id}


def checkpoints(stack: Stack) -> dict[int, tuple[datetime, set[UUID]]]:
    """Partition -> up to when it is complete, and what is pending."""
    with psycopg.connect(stack.endpoints.postgres_dsn) as connection:
        found = connection.execute(
            "SELECT partition, complete_to, pending FROM public.payins_checkpoints"
        ).fetchall()
    return {partition: (complete_to, set(pending)) for partition, complete_to, pending in found}


def pending(stack: Stack) -> set[UUID]:
    """What is pending by all checkpoints."""
    return {each for _, found in checkpoints(stack).values() for each in found}


def test_a_worker_that_is_killed_starts_from_its_checkpoints(stack: Stack) -> None:
    log = stack.log("payins-worker")
    wait_until(lambda: checkpoints(stack).keys() == {0, 1, 2, 3}, "every partition has one")
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        mine = {append(writer, replace(each, flow="confirm_later")) for each in created(10)}
    wait_until(lambda: mine <= pending(stack), "they are in the checkpoints")
    wait_until(lambda: stack.pid("payins-worker"), "the worker runs")
    said = len(log.read_text())
    stack.kill("payins-worker")
    killed_at = datetime.now(UTC)
    wait_until(lambda: "the table was read" in log.read_text()[said:], "the worker has started")
    assert "reading all payments" not in log.read_text()[said:]
    wait_until(
        lambda: min(at for at, _ in checkpoints(stack).values()) > killed_at, "new checkpoints"
    )
    assert mine <= pending(stack)


async def put(stack: Stack, bodies: list[bytes], event_id: str | None = None) -> None:
    inbox = Inbox(stack.endpoints.kafka_bootstrap)
    for body in bodies:
        event = ProcessorEvent(
            psp="stripe",
            event_id=event_id or f"evt_{uuid4().hex}",
            event_type="charge.dispute.created",
            kind=EventKind.CHARGE,
            at=datetime.now(UTC),
            object_id="dp_1",
            reference=None,
            payment_id=None,
        )
        await inbox.put(event, body)
    await inbox.stop()


async def dead_letters(stack: Stack) -> set[str]:
    """What the dead letters are about."""
    journal = Journal(stack.endpoints.kafka_bootstrap, PAYINS_DEAD_LETTERS_TOPIC, DeadLetter)
    await journal.start()
    try:
        return {letter.reference for letter in journal.items.values()}
    finally:
        await journal.stop()

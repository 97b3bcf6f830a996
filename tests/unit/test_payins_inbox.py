"""A webhook is in the inbox when Kafka says so; whatever happens to the client, nobody hangs."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.charges import EventKind, ProcessorEvent
from payins import inbox as module
from payins.inbox import Inbox
from schemas.errors import ServiceUnavailable

FATAL = KafkaException(KafkaError(KafkaError._FATAL, "fenced"))
EVENT = ProcessorEvent(
    psp="stripe",
    event_id="evt_1",
    event_type="charge.refunded",
    kind=EventKind.CHARGE,
    at=datetime(2026, 1, 1, tzinfo=UTC),
    object_id="ch_1",
    reference="pi_1",
    payment_id=None,
)
Report = Callable[[KafkaError | None, Any], None]


class FakeProducer:
    """Delivers with the next poll, or does what a test makes it do."""

    made: "list[FakeProducer]"

    def __init__(self, _settings: dict[str, Any]) -> None:
        FakeProducer.made.append(self)
        self.produced: list[tuple[bytes, bytes]] = []
        self.reports: list[Report] = []
        self.refuses: Exception | None = None
        self.fails: Exception | None = None
        self.delivers = True
        self.error: KafkaError | None = None

    def produce(
        self, _topic: str, *, key: bytes, value: bytes, headers: Any, on_delivery: Report
    ) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.produced.append((key, value))
        self.reports.append(on_delivery)

    def poll(self, _seconds: float) -> None:
        if self.fails is not None:
            raise self.fails
        if self.delivers:
            reports, self.reports = self.reports, []
            for report in reports:
                report(self.error, None)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProducer.made = []
    monkeypatch.setattr(module, "Producer", FakeProducer)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(10):
            await work

    asyncio.run(within())


async def waiting(inbox: Inbox, number: int = 1) -> "list[asyncio.Task[None]]":
    """Webhooks that wait for their delivery."""
    tasks = [asyncio.create_task(inbox.put(EVENT, b"%d" % each)) for each in range(number)]
    await asyncio.sleep(0)
    return tasks


def test_it_returns_when_it_is_delivered() -> None:
    async def work() -> None:
        inbox = Inbox("127.0.0.1:1")
        await inbox.put(EVENT, b"first")
        await inbox.put(EVENT, b"second")
        (producer,) = FakeProducer.made
        assert producer.produced == [(b"pi_1", b"first"), (b"pi_1", b"second")]
        await inbox.stop()

    run(work())


def test_what_is_not_delivered_is_refused_and_the_client_goes_on() -> None:
    async def work() -> None:
        inbox = Inbox("127.0.0.1:1")
        await inbox.put(EVENT, b"first")
        (producer,) = FakeProducer.made
        producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
        with pytest.raises(ServiceUnavailable, match="is Kafka up"):
            await inbox.put(EVENT, b"second")
        producer.error, producer.refuses = None, BufferError("Local: Queue full")
        with pytest.raises(ServiceUnavailable, match="Queue full"):
            await inbox.put(EVENT, b"third")
        producer.refuses = None
        await inbox.put(EVENT, b"fourth")
        assert FakeProducer.made == [producer]

    run(work())


@pytest.mark.parametrize("where", ["poll", "produce", "report"])
def test_after_a_fatal_error_nobody_hangs_and_the_next_one_gets_a_new_client(where: str) -> None:
    async def work() -> None:
        inbox = Inbox("127.0.0.1:1")
        await inbox.put(EVENT, b"first")
        (producer,) = FakeProducer.made
        producer.delivers = where == "report"
        tasks = await waiting(inbox, 3)
        match where:
            case "poll":
                producer.fails = FATAL
            case "produce":
                producer.refuses = FATAL
                with pytest.raises(ServiceUnavailable):
                    await inbox.put(EVENT, b"another")
            case "report":
                producer.error = FATAL.args[0]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [ServiceUnavailable] * 3
        await inbox.put(EVENT, b"again")
        assert len(FakeProducer.made) == 2

    run(work())


def test_who_leaves_keeps_nobody_waiting() -> None:
    async def work() -> None:
        inbox = Inbox("127.0.0.1:1")
        first, second = await waiting(inbox, 2)
        first.cancel()
        await second
        assert first.cancelled()
        await inbox.put(EVENT, b"another")

    run(work())


def test_a_stop_leaves_nobody_waiting() -> None:
    async def work() -> None:
        inbox = Inbox("127.0.0.1:1")
        await inbox.put(EVENT, b"first")
        FakeProducer.made[0].delivers = False
        tasks = await waiting(inbox, 2)
        await inbox.stop()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [ServiceUnavailable] * 2

    run(work())

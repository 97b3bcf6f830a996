"""kill -9 of the simulator in the midst of work: nothing is half done, and nothing is forgotten."""

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import stripe

from tests.simulator import Receiver, Simulator, receiving, running
from tests.waiting import wait_until

PAYERS = 4
KILLS = 4
TRY_SECONDS = 60.0


class Payer(threading.Thread):
    """Pays, and sends the same again until there is an answer; sometimes refunds."""

    def __init__(self, simulator: Simulator, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._client = simulator.client()
        self._halt = stop
        self.paid: dict[str, str] = {}
        self.refunded: dict[str, str] = {}
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            number = 0
            while not self._halt.is_set():
                number += 1
                self._pay(f"{self.name}-{number}", number)
        except BaseException as problem:  # noqa: BLE001 - the test raises it
            self.problem = problem

    def _pay(self, key: str, number: int) -> None:
        client = self._client.v1
        disputed = number % 10 == 0
        form: Any = {
            "amount": 1000,
            "currency": "eur",
            "payment_method": "pm_card_createDispute" if disputed else "pm_card_visa",
            "confirm": True,
            "metadata": {"purser_payment_id": key},
        }
        intent = self._until_answered(
            lambda: client.payment_intents.create(form, {"idempotency_key": key})
        )
        self.paid[key] = intent.id
        if number % 3 == 0 and not disputed:  # Stripe refunds nothing that is in dispute
            given: Any = {"payment_intent": intent.id, "amount": 400}
            refund = self._until_answered(
                lambda: client.refunds.create(given, {"idempotency_key": f"{key}-refund"})
            )
            self.refunded[key] = refund.id

    def _until_answered(self, call: Any) -> Any:
        deadline = time.monotonic() + TRY_SECONDS
        while True:
            try:
                return call()
            except stripe.APIConnectionError:
                assert time.monotonic() < deadline, "the simulator does not come back"
                time.sleep(0.02)


def more_than(payers: list[Payer], count: int) -> bool:
    return sum(len(payer.paid) for payer in payers) > count


def work_and_kill(simulator: Simulator) -> list[Payer]:
    stop = threading.Event()
    payers = [Payer(simulator, f"payer-{number}", stop) for number in range(PAYERS)]
    for payer in payers:
        payer.start()
    for _ in range(KILLS):
        before = sum(len(payer.paid) for payer in payers)
        wait_until(
            partial(more_than, payers, before + 20),
            "payments go on",
            seconds=60,
            seen=lambda: [payer.problem for payer in payers],
        )
        simulator.kill()
        simulator.start()
    stop.set()
    for payer in payers:
        payer.join(TRY_SECONDS)
        assert payer.problem is None, payer.problem
    return payers


def test_books_are_whole_and_every_webhook_comes(tmp_path: Path) -> None:
    with receiving() as receiver:
        settings = {
            "PURSER_SIMULATOR_WEBHOOK_URL": receiver.url,
            "PURSER_SIMULATOR_WEBHOOK_EVENTS": "payment_intent.succeeded,refund.created",
        }
        with running(tmp_path, **settings) as simulator:
            payers = work_and_kill(simulator)
            paid = {key: intent for payer in payers for key, intent in payer.paid.items()}
            refunded = {key: refund for payer in payers for key, refund in payer.refunded.items()}
            sums = simulator.books()
            assert sums["charges"]["count"] == len(paid)
            assert sums["charges"]["sum"] == 1000 * len(paid)
            assert sums["refunds"] == {
                "count": len(refunded),
                "sum": 400 * len(refunded),
                "sum_minor": 400 * len(refunded),
            }
            charges = all_charges(simulator)
            assert {each["payment_id"]: each["payment_intent"] for each in charges} == paid
            wait_until(
                lambda: came(receiver) >= set(paid.values()) | set(refunded.values()),
                "every webhook comes",
                seconds=60,
                seen=lambda: len(came(receiver)),
            )


def came(receiver: Receiver) -> set[str]:
    return {event["data"]["object"]["id"] for event in receiver.events}


def all_charges(simulator: Simulator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = "0"
    while True:
        page = simulator.get(f"/_simulator/charges?limit=1000&cursor={cursor}")
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = page["next_cursor"]


def test_two_simulators_never_share_a_file(tmp_path: Path) -> None:
    with running(tmp_path) as simulator:
        second = Simulator(tmp_path)
        try:
            second.start()
        except AssertionError as refused:
            assert "ended with 2" in str(refused)
        else:
            raise AssertionError("a second simulator runs on the same books")
        assert simulator.get("/health")["status"] == "healthy"

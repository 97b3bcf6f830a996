"""Stripe's SDK of another language works unchanged, with nothing but its address set."""

from pathlib import Path

import pytest

from stack.settings import HOST
from tests.contract.clickhouse_clients.programs import Program, npm
from tests.simulator import KEY, Simulator

pytestmark = pytest.mark.timeout(1800)  # the first one may have to fetch and build programs

CHECKS = {
    "payment", "decline", "refund", "idempotency", "search", "paging", "checkout", "events",
}  # fmt: skip
NODE = Program(
    folder=Path(__file__).parent / "node",
    install=npm,
    command=lambda at: ["node", str(at / "client.js")],
)


def test_the_sdk_for_node(simulator: Simulator) -> None:
    said = NODE.run([HOST, str(simulator.port), KEY])
    assert said == dict.fromkeys(CHECKS, "ok")

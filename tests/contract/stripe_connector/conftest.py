"""Stripe's own mock, and our simulator of Stripe, with the connector pointed at it."""

from collections.abc import Iterator

import pytest

from tests import stripe_simulator
from tests.contract.stripe import stripe_mock


@pytest.fixture(scope="session")
def stripe_mock_url() -> Iterator[str]:
    """The base address of Stripe's mock."""
    if not stripe_mock.available():
        pytest.skip("Go builds stripe-mock, and this machine has no Go")
    with stripe_mock.running() as url:
        yield url


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stripe_simulator.Simulator]:
    """Our simulator of Stripe with empty books, for the tests of a module."""
    with stripe_simulator.running(tmp_path_factory.mktemp("simulator")) as running:
        yield running

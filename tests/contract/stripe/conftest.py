"""Stripe's own mock, and a simulator for the tests of a file; each looks only at what it made."""

from collections.abc import Iterator

import pytest
import stripe

from tests import stripe_mock
from tests.simulator import Receiver, Simulator, receiving, running


@pytest.fixture(scope="session")
def stripe_mock_url() -> Iterator[str]:
    """The base address of Stripe's mock."""
    if not stripe_mock.available():
        pytest.skip(stripe_mock.NEEDS)
    with stripe_mock.running() as url:
        yield url


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running(tmp_path_factory.mktemp("simulator")) as started:
        yield started


@pytest.fixture
def client(simulator: Simulator) -> Iterator[stripe.StripeClient]:
    yield simulator.client()
    simulator.ask("DELETE", "/_simulator/faults")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started

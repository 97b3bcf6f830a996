"""Stripe's own mock, and a simulator for the tests of a file; each looks only at what it made."""

from collections.abc import Iterator
from shutil import which

import pytest
import stripe

from tests import stripe_mock
from tests.simulator import Receiver, Simulator, receiving, running

# Go builds Stripe's mock, npm fetches the SDK for Node: like the clients of ClickHouse, they are
# tested where their language is.
collect_ignore = [
    *([] if stripe_mock.available() else ["test_stripe_mock.py", "test_mock_and_simulator.py"]),
    *([] if which("node") and which("npm") else ["test_other_languages.py"]),
]


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

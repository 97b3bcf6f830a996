"""Stripe's own mock, and our simulator of Stripe."""

from collections.abc import Iterator

import pytest

from tests import stripe_mock, stripe_simulator


@pytest.fixture(scope="session")
def stripe_mock_url() -> Iterator[str]:
    """The base address of Stripe's mock."""
    if not stripe_mock.available():
        pytest.skip(stripe_mock.NEEDS)
    with stripe_mock.running() as url:
        yield url


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stripe_simulator.Simulator]:
    """Our simulator of Stripe with empty books, for the tests of a module."""
    with stripe_simulator.running(tmp_path_factory.mktemp("simulator")) as running:
        yield running

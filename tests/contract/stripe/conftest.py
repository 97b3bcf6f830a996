"""Stripe's own mock, once for all tests here."""

from collections.abc import Iterator

import pytest

from tests import stripe_mock


@pytest.fixture(scope="session")
def stripe_mock_url() -> Iterator[str]:
    """The base address of Stripe's mock."""
    if not stripe_mock.available():
        pytest.skip(stripe_mock.NEEDS)
    with stripe_mock.running() as url:
        yield url

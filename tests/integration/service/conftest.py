"""A whole stack with the API, a second process of it, and clients with tokens."""

from collections.abc import Iterator

import pytest

from tests.integration.service.world import RealApi, real_api


@pytest.fixture(scope="module")
def api() -> Iterator[RealApi]:
    """Two processes of the API on one stack."""
    with real_api() as made:
        yield made

"""The API, the simulator and the servers that they need, for tests of payments in."""

from collections.abc import Iterator

import pytest

from tests.payments_stack import PaymentsStack
from tests.payments_stack import payments_stack as a_payments_stack


@pytest.fixture(scope="module")
def payments_stack() -> Iterator[PaymentsStack]:
    """A stack of this module's own: its tests change the PSP's clock, and rows behind the API."""
    with a_payments_stack() as stack:
        yield stack

"""The PSPs whose books can be read: a name, as in `payments.psp`, and how to open its books."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from connectors.books import Books
from connectors.stripe.amounts import STRIPE
from connectors.stripe.books import StripeBooks
from connectors.stripe.settings import StripeSettings
from schemas.errors import UsageError


def _stripe() -> Books:
    return StripeBooks(StripeSettings.load())


OPENERS: Mapping[str, Callable[[], Books]] = MappingProxyType({STRIPE: _stripe})


def check_psp(psp: str) -> None:
    """Check that the books of a PSP can be read.

    Raises:
        UsageError: they cannot.
    """
    if psp not in OPENERS:
        raise UsageError("--psp", f"{psp[:40]!r} has no books here; give {', '.join(OPENERS)}")


def open_books(psp: str) -> Books:
    """Open the books of a PSP, with its settings from the environment; nothing is read yet.

    Raises:
        ConfigurationError: a setting of the PSP is missing or wrong.
    """
    return OPENERS[psp]()

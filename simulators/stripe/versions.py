"""The header Stripe-Version: checked as Stripe checks it; the answers are of one version. Pure."""

import re

from simulators.stripe.errors import StripeError

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?(; ?[a-z0-9_]+=v\d+)*")


def check_version(given: str | None) -> None:
    """Raise StripeError for something that is no version."""
    if given is not None and not _VERSION.fullmatch(given.strip()):
        raise StripeError(f"Invalid Stripe API version: {given[:50]}")

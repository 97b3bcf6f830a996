"""A call of Stripe's API as the rules see it, and an answer that is an error but stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulators.stripe.errors import StripeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the API: its parameters, and the id in its path."""

    params: Mapping[str, Any]
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """An answer that is an error although its work stands: a declined payment."""

    error: StripeError

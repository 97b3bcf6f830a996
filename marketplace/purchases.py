"""A purchase as data: the requests of the shop's backend, what the buyer does, and when.

`shop` generates purchases and `shopping` carries them out. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from marketplace.baskets import Basket

PAYMENT = "{payment}"
"""Stands for the payment's id in paths and bodies."""
AUTHORIZED = frozenset({"authorized"})
CAPTURED = frozenset({"captured"})
WAITING = frozenset({"action_required"})


class Choice(StrEnum):
    """What a buyer does on the PSP's page."""

    PAY = "pay"
    FAIL = "fail"
    """Enters a card that is declined, or fails the bank's authentication."""
    LEAVE = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request that changes something, `wait_seconds` after the step before it was done.

    - `when`: the payment's statuses in which it makes sense; empty for a first request.
    - `clicks`: how often it is sent at once, as by a double click.
    - `hang_up_seconds`: the client hangs up so soon and sends it again, if it is not None.
    """

    wait_seconds: float = 0.0
    path: str
    body: Mapping[str, object]
    key: str
    when: frozenset[str] = frozenset()
    clicks: int = 1
    hang_up_seconds: float | None = None

    def about(self, payment: str) -> tuple[str, dict[str, object]]:
        """Path and body, with the payment's id in its places."""
        body = {name: payment if value == PAYMENT else value for name, value in self.body.items()}
        return self.path.replace(PAYMENT, payment), body

    @property
    def operation(self) -> str:
        """A name for counting, such as `POST /v1/payments/{payment}/capture`."""
        return f"POST {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Browse:
    """The buyer opens `next_action.url` and does what `choice` says."""

    wait_seconds: float
    choice: Choice
    when: frozenset[str] = WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Mature:
    """The sellers' shares can be paid out from now on: the writer does it, the API cannot."""

    wait_seconds: float
    key: str
    when: frozenset[str] = CAPTURED


@dataclass(frozen=True, slots=True, kw_only=True)
class PayOut:
    """Finance pays one seller: asked of the API; the provider's answers come from the writer."""

    wait_seconds: float
    post: Post
    when: frozenset[str] = CAPTURED


Step = Post | Browse | Mature | PayOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One buyer's purchase: its first request, due at a time, and the steps that follow.

    `asks_again` says that the shop repeats its first request at the very end, when the payment has
    moved on; the answer must be the first one all the same.
    """

    number: int
    at_seconds: float
    fate: str
    basket: Basket
    opening: Post
    steps: tuple[Step, ...]
    asks_again: bool = False

"""The Stripe account: what every rule needs to look up, keep, tell and put off.

One instance serves the whole program. `Account.cause` says which call or task is being worked on;
everything within it is one transaction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulators.clock import Clock, Tasks
from simulators.database import Database
from simulators.faults import Faults
from simulators.stripe.event_log import Cause, EventLog
from simulators.stripe.kinds import Kind
from simulators.stripe.store import Body, Store

API_VERSION = "2026-10-28.endive"
"""Answers and events are those of this version, whatever version the caller names."""
ACCOUNT_ID = "acct_1PurserSimulator"


@dataclass(slots=True, kw_only=True)
class Account:
    """The books, the clock, and the way to tell others."""

    database: Database
    store: Store
    clock: Clock
    tasks: Tasks
    faults: Faults
    events: EventLog
    base_url: str
    cause: Cause = field(default_factory=lambda: Cause(identity="start"))

    @property
    def now(self) -> int:
        """The time in whole seconds, as Stripe writes it."""
        return int(self.clock.now())

    def emit(self, event_type: str, body: Body, previous: Mapping[str, Any] | None = None) -> None:
        """Record an event about an object as it now is, and let it be delivered."""
        self.events.record(
            event_type,
            body,
            previous,
            cause=self.cause,
            now=self.clock.now(),
            faults=self.faults,
        )

    def later(self, seconds: float, name: str, subject: str) -> None:
        """Let a task run in some seconds of the simulator's clock."""
        self.tasks.add(name, subject, self.clock.now() + seconds)

    def find(self, kind: Kind, identity: str | None) -> Body | None:
        """An object, or None."""
        return None if identity is None else self.store.find(kind, identity)


Task = Callable[[Account, str], None]
"""What happens at a time, to the object with this id."""

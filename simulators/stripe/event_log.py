"""Stripe's events: each with the object as it was, and how many endpoints still wait for it.

An event and its deliveries are written in the transaction of the change that they tell of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from simulators.database import Database
from simulators.faults import Faults
from simulators.stripe import ids
from simulators.stripe.errors import no_such
from simulators.stripe.lists import Conditions
from simulators.stripe.store import Body, encode

PREFIX = "evt_3"
WAITING_COUNTED = 10_000
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS events (
        n INTEGER PRIMARY KEY, id TEXT NOT NULL, created INTEGER NOT NULL,
        type TEXT NOT NULL, rare TEXT, undelivered INTEGER NOT NULL, request TEXT, key TEXT,
        object BLOB NOT NULL, previous BLOB
    )
    """,
    "CREATE INDEX IF NOT EXISTS events_rare ON events (rare, n) WHERE rare IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS events_undelivered ON events (n) WHERE undelivered > 0",
    """
    CREATE TABLE IF NOT EXISTS deliveries (
        n INTEGER PRIMARY KEY, event INTEGER NOT NULL, endpoint TEXT NOT NULL,
        due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, given_up INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (endpoint, given_up, due)",
    "CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event, endpoint)",
)
FREQUENT = frozenset({"payment_intent.created", "payment_intent.succeeded", "charge.succeeded"})
"""Types that every payment has. They are found without an index; an index finds the others."""
_COLUMNS = "n, id, created, type, undelivered, request, key, object, previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is being worked on: a call or a task, named as `simulators.faults` names it."""

    identity: str
    request_id: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """An endpoint that is told of some types of events."""

    endpoint: str
    types: frozenset[str]

    def wants(self, event_type: str) -> bool:
        """Whether it is told of this type."""
        return "*" in self.types or event_type in self.types


class EventLog:
    """Writes events and reads them."""

    def __init__(self, database: Database, salt: str, api_version: str) -> None:
        self._database = database
        self._salt = salt
        self._api_version = api_version
        for statement in TABLES:
            database.execute(statement)
        self._next = int(database.row("SELECT coalesce(max(n), 0) FROM events")[0]) + 1
        self.subscriptions: tuple[Subscription, ...] = ()
        self.on_delivery: Callable[[float], None] = lambda _due: None

    def latest(self) -> int:
        """The time of the newest event."""
        found = self._database.row("SELECT created FROM events ORDER BY n DESC LIMIT 1")
        return 0 if found is None else int(found[0])

    def record(
        self,
        event_type: str,
        body: Body,
        previous: Mapping[str, Any] | None,
        *,
        cause: Cause,
        now: float,
        faults: Faults,
    ) -> None:
        """Write one event, and a delivery for each endpoint that wants it."""
        number, self._next = self._next, self._next + 1
        wanting = [each for each in self.subscriptions if each.wants(event_type)]
        self._database.execute(
            "INSERT INTO events (n, id, created, type, rare, undelivered, request, key, object,"
            " previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                ids.make(PREFIX, self._salt, number),
                int(now),
                event_type,
                None if event_type in FREQUENT else event_type,
                len(wanting),
                cause.request_id,
                cause.key,
                encode(body),
                encode(previous) if previous is not None else None,
            ),
        )
        for each in wanting:
            chosen = faults.of_webhook(f"{event_type} {cause.identity}", each.endpoint)
            if chosen.lost:  # the event goes on counting as not delivered, as a poller can see
                continue
            for delay in chosen.delays_seconds:
                self._deliver(number, each.endpoint, now + delay)

    def _deliver(self, number: int, endpoint: str, due: float) -> None:
        self._database.execute(
            "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, ?)",
            (number, endpoint, due),
        )
        self.on_delivery(due)

    def waiting(self) -> int:
        """The number of deliveries that are to be made; not counted above `WAITING_COUNTED`."""
        return int(
            self._database.row(
                "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE given_up = 0 LIMIT ?)",
                (WAITING_COUNTED,),
            )[0]
        )

    def forget(self, endpoint: str) -> None:
        """Deliver nothing more to an endpoint that was deleted; its events wait for it no more."""
        self._database.execute(
            "UPDATE events SET undelivered = undelivered - 1 WHERE n IN"
            " (SELECT DISTINCT event FROM deliveries WHERE endpoint = ?)",
            (endpoint,),
        )
        self._database.execute("DELETE FROM deliveries WHERE endpoint = ?", (endpoint,))

    def body(self, row: Any) -> Body:
        """An event as the API and the webhooks show it."""
        _, identity, created, event_type, undelivered, request, key, snapshot, previous = row
        data: Body = {"object": msgspec.Raw(snapshot)}
        if previous is not None:
            data["previous_attributes"] = msgspec.Raw(previous)
        return {
            "id": identity,
            "object": "event",
            "api_version": self._api_version,
            "created": created,
            "data": data,
            "livemode": False,
            "pending_webhooks": undelivered,
            "request": {"id": request, "idempotency_key": key},
            "type": event_type,
        }

    def by_number(self, number: int) -> Body | None:
        """The event of a delivery."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM events WHERE n = ?", (number,))
        return None if row is None else self.body(row)

    def by_id(self, identity: str) -> Body:
        """An event; raises StripeError if there is none."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM events WHERE n = ? AND id = ?",
            (ids.number_in(identity, self._salt), identity),
        )
        if row is None:
            raise no_such("event", identity, "id")
        return self.body(row)

    def page(self, conditions: Conditions, order: str, limit: int) -> list[Any]:
        """Rows of a part of the table."""
        condition = " AND ".join(conditions.parts) or "1"
        return self._database.rows(
            f"SELECT {_COLUMNS} FROM events WHERE {condition} ORDER BY n {order} LIMIT {limit}",
            conditions.values,
        )

    def number_of(self, identity: str, param: str) -> int:
        """The number of an event; raises StripeError if there is none."""
        number = ids.number_in(identity, self._salt)
        row = self._database.row("SELECT n FROM events WHERE n = ? AND id = ?", (number, identity))
        if row is None:
            raise no_such("event", identity, param, status=400)
        return int(row[0])

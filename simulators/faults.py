"""Seeded faults of the simulators: which request fails and how, decided by a hash. Pure.

Each decision is a function of the seed, what is asked, and how often it was asked since the plan
was put. What is asked is named so that it is the same in another run, whatever ids are given:

- a request with an Idempotency-Key: method, path without ids, key; then 1st, 2nd … time of the key.
- any other request: method, path without ids; then 1st, 2nd … request of this kind. A key that
  holds a random UUID (version 4), as the SDKs make, tells nothing and counts as none.
- a webhook: type of the event, and the request (as above) or task that caused it; then 1st, 2nd …

So the same seed and the same requests give the same faults: with keys in any order and at any
concurrency, without keys in the same order.
"""

import re
from collections import OrderedDict
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SEEN_MOST = 200_000
"""Most requests whose number is remembered; the oldest are forgotten and begin at 1 again."""
SECONDS_MOST = 3600.0
OUT_OF_ORDER_SECONDS = 2.0
_RANDOM_UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


class RequestFault(StrEnum):
    """What happens to a request instead of an answer; in the order in which they are drawn."""

    TIMEOUT_AFTER_COMMIT = "timeout_after_commit"
    HTTP_500 = "http_500"
    HTTP_500_AFTER_COMMIT = "http_500_after_commit"
    HTTP_429 = "http_429"
    HTTP_409 = "http_409"


def _not_a_bool(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("give a number")
    return value


Number = Annotated[float, BeforeValidator(_not_a_bool), Field(allow_inf_nan=False)]
Chance = Annotated[Number, Field(ge=0, le=1)]
Seconds = Annotated[Number, Field(ge=0, le=SECONDS_MOST)]
Range = tuple[Seconds, Seconds]


class Plan(BaseModel):
    """The chance of each fault, from 0 to 1, and ranges of seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_after_commit: Chance = 0.0
    """The work is done, and no answer comes: the connection ends at once, or hangs before."""
    http_500: Chance = 0.0
    """Nothing was done, and nothing is kept: the same key may be sent again."""
    http_500_after_commit: Chance = 0.0
    """The work is done; the 500 is kept for the key, as Stripe does with its errors."""
    http_429: Chance = 0.0
    http_409: Chance = 0.0
    slow_seconds: Range | None = None
    latency_seconds: Seconds = 0.0
    """Added to every call."""
    hang_seconds: Seconds = 5.0
    """How long a connection hangs before it ends without an answer."""
    webhook_lost: Chance = 0.0
    webhook_duplicated: Chance = 0.0
    webhook_delayed_seconds: Range | None = None
    webhook_out_of_order: bool = False
    paid_then_failed: Chance = 0.0
    """A payout fails within five days after it was paid."""
    search_delay_seconds: Seconds = 0.0
    """Search finds a payment intent only when it is this old."""

    @model_validator(mode="after")
    def _check(self) -> "Plan":
        if sum(getattr(self, fault.value) for fault in RequestFault) > 1:
            raise ValueError("the chances of " + ", ".join(RequestFault) + " sum to more than 1")
        for name in ("slow_seconds", "webhook_delayed_seconds"):
            given = getattr(self, name)
            if given is not None and given[0] > given[1]:
                raise ValueError(f"{name}: the first number is larger than the second")
        return self


class FaultRequest(BaseModel):
    """The body of `PUT /_simulator/faults`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    plan: Plan


def draw(seed: int, *what: object) -> float:
    """A number from 0 to below 1 that is the same for the same arguments."""
    text = "\n".join([str(seed), *map(str, what)])
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big") / (1 << 56)


def identity_of(method: str, route: str, key: str | None) -> str:
    """The name of a request that is the same in every run; `route` has no ids in it."""
    known = key if key is not None and not _RANDOM_UUID.search(key) else ""
    return f"{method} {route} {known}".rstrip()


class Chosen(BaseModel):
    """What the plan does to one request."""

    model_config = ConfigDict(frozen=True)

    fault: RequestFault | None = None
    delay_seconds: float = 0.0
    hang_seconds: float = 0.0


NOTHING = Chosen()


class Deliveries(BaseModel):
    """How an event reaches an endpoint: after which delays, or not at all."""

    model_config = ConfigDict(frozen=True)

    lost: bool = False
    delays_seconds: tuple[float, ...] = (0.0,)


PROMPT = Deliveries()


class Faults:
    """The plan in force and what it has decided so far."""

    def __init__(self) -> None:
        self.request: FaultRequest | None = None
        self._seen: OrderedDict[str, int] = OrderedDict()

    @property
    def plan(self) -> Plan:
        """The plan in force; all zero if there is none."""
        return self.request.plan if self.request else _NO_PLAN

    def put(self, request: FaultRequest | None) -> None:
        """Begin a plan, with all counts at the start; None ends it."""
        self.request = request
        self._seen.clear()

    def of_request(self, identity: str, *, changes: bool) -> Chosen:
        """Decide about a request; only one that changes something has faults about its work."""
        if self.request is None:
            return NOTHING
        seed, plan = self.request.seed, self.request.plan
        number = self._count(identity)
        lot = draw(seed, "fault", identity, number)
        fault = None
        for each in RequestFault:
            lot -= getattr(plan, each.value)
            if lot < 0:
                fault = each
                break
        if not changes and fault not in (None, RequestFault.HTTP_500, RequestFault.HTTP_429):
            fault = None
        return Chosen(
            fault=fault,
            delay_seconds=plan.latency_seconds
            + _within(plan.slow_seconds, draw(seed, "slow", identity, number)),
            hang_seconds=plan.hang_seconds * (draw(seed, "hang", identity, number) < 0.5),
        )

    def of_webhook(self, identity: str, endpoint: str) -> Deliveries:
        """Decide about the delivery of one event to one endpoint."""
        if self.request is None:
            return PROMPT
        seed, plan = self.request.seed, self.request.plan
        what = ("webhook", identity, self._count(f"webhook {identity} {endpoint}"))
        if draw(seed, *what, "lost") < plan.webhook_lost:
            return Deliveries(lost=True)
        copies = 1 + (draw(seed, *what, "duplicated") < plan.webhook_duplicated)
        delays = []
        for copy in range(copies):
            delay = _within(plan.webhook_delayed_seconds, draw(seed, *what, "delay", copy))
            if plan.webhook_out_of_order:
                delay += OUT_OF_ORDER_SECONDS * draw(seed, *what, "order", copy)
            delays.append(delay)
        return Deliveries(delays_seconds=tuple(delays))

    def of_payout(self, identity: str) -> float | None:
        """Days after which a paid payout fails, from above 0 to 5; None if it does not."""
        if self.request is None or not self.plan.paid_then_failed:
            return None
        seed, number = self.request.seed, self._count(f"payout {identity}")
        if draw(seed, "payout", identity, number) >= self.plan.paid_then_failed:
            return None
        return 0.1 + 4.8 * draw(seed, "payout days", identity, number)

    def answer(self) -> dict[str, Any]:
        """The plan in force, for `GET /_simulator/faults`."""
        if self.request is None:
            return {"active": False, "seed": None, "plan": None}
        return {"active": True, **self.request.model_dump(mode="json")}

    def _count(self, identity: str) -> int:
        number = self._seen.pop(identity, 0) + 1
        self._seen[identity] = number
        if len(self._seen) > SEEN_MOST:
            self._seen.popitem(last=False)
        return number


_NO_PLAN = Plan()


def _within(limits: tuple[float, float] | None, lot: float) -> float:
    return 0.0 if limits is None else limits[0] + (limits[1] - limits[0]) * lot

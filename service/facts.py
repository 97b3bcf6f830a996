"""What is known of one request while it is worked on; the frame makes it, the layers add to it."""

import random
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid5

from service.roles import Caller

SCOPE = "purser"
"""Where a request's facts are in its ASGI scope."""

NO_ROUTE = "none"
"""The operation of a request that has none."""

request_id_now: ContextVar[str] = ContextVar("request_id", default="")
"""For the log lines of whatever works on the request."""


@dataclass(slots=True)
class RequestFacts:
    """Facts of one request. `route` is the name of the operation, for metrics and logs."""

    request_id: str
    made_request_id: bool
    route: str = NO_ROUTE
    caller: Caller | None = None
    idempotency_key: str | None = None
    """As the caller gave it."""
    internal_key: str | None = None
    """Under which Purser keeps it: the caller's own, and of this operation."""
    replayed: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Headers that every answer to this request gets, also a problem."""

    def adopt(self, request_id: str) -> None:
        """Take the id that the answer's body has, unless the caller gave one."""
        if request_id and self.made_request_id:
            self.request_id = request_id
            request_id_now.set(request_id)


def new_request_id() -> str:
    """An id for a request that brings none."""
    # Not from the system's source of randomness: an id need not be secret, and asking for it gives
    # other threads the interpreter's lock, which costs more than all else that the frame does.
    return str(UUID(int=random.getrandbits(128), version=4))


def request_id_of(*what: object) -> str:
    """The id of a request as such, whoever repeats it: what a problem that is repeated names."""
    name = "/".join(map(str, what))
    return f"req-{uuid5(NAMESPACE_URL, f'https://purser/requests/{name}')}"

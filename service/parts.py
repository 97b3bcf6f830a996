"""Everything that the handlers of one process use, put together in `service.app`."""

from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from payins.execute import PayIns
from schemas.errors import InputError
from schemas.events import Event
from schemas.ids import PaymentId, check_id
from schemas.lifecycle import Direction
from service.as_of import AsOf
from service.facts import SCOPE, RequestFacts
from service.listing import Listing
from service.metrics import ApiMetrics
from service.permissions import Operation, Reach, reach
from service.problems import Problem, no_such_payment
from service.roles import Caller
from service.views import Views
from service.webhooks import StripeWebhooks
from writer.append import AsyncWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one process; `as_of` and `listing` read, the others write too."""

    writer: AsyncWriter
    payins: PayIns
    views: Views
    as_of: AsOf
    listing: Listing
    webhooks: StripeWebhooks
    metrics: ApiMetrics


def parts_of(request: Request) -> Parts:
    """The parts of the process that answers this request."""
    parts: Parts = request.app.state.parts
    return parts


def facts_of(request: Request) -> RequestFacts:
    """What is known of this request."""
    facts: RequestFacts = request.scope[SCOPE]
    return facts


def caller_of(request: Request) -> Caller:
    """Whoever sent this request; its route has checked that."""
    caller = facts_of(request).caller
    assert caller is not None, "the route is not behind the gate"
    return caller


def key_of(request: Request) -> str:
    """The internal key of a request whose route requires one."""
    key = facts_of(request).internal_key
    assert key is not None, "the route requires a key"
    return key


def payment_id_of(text: str) -> PaymentId:
    """The id in a path; whatever is no id is the id of no payment. Raises Problem."""
    try:
        found = UUID(text)
    except ValueError:
        raise no_such_payment() from None
    if str(found) != text:
        raise no_such_payment()
    return PaymentId(found)


def id_of(text: str, name: str, where: str) -> str:
    """A buyer's, seller's or user's id in a path or a filter; raises Problem."""
    try:
        return check_id(name, text)
    except InputError as error:
        raise Problem("field_invalid", str(error), field=f"/{name}", more={"in": where}) from None


async def own_payment(
    request: Request, operation: Operation, payment_id: PaymentId
) -> tuple[Event, ...]:
    """The stream of a payment that the caller reaches.

    Raises:
        Problem: 404, there is none, or it is somebody else's.
    """
    events = await parts_of(request).writer.load(payment_id)
    if not events or events[0].direction is not Direction.IN:
        raise no_such_payment()
    caller = caller_of(request)
    if reach(operation, caller) is Reach.OWN and events[0].buyer_id != caller.subject:
        raise no_such_payment()
    return events


async def check_reach(request: Request, operation: Operation, payment_id: PaymentId) -> None:
    """Refuse a payment that the caller does not reach; whoever reaches all costs no look."""
    if reach(operation, caller_of(request)) is Reach.OWN:
        await own_payment(request, operation, payment_id)


def wants_async(request: Request) -> bool:
    """Whether the caller prefers an answer before the work is done (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(each.partition(";")[0].strip() == "respond-async" for each in preferences)


def field_problem(code: str, field: str, problem: str) -> Problem:
    """The problem of one field of the body."""
    return Problem(code, f"{field}: {problem}", field=f"/{field}")

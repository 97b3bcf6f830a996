"""Handlers of `/v1/payments`: bodies become commands, what payments in say becomes answers.

Nothing is decided here. The intent is recorded and the processor called by `payins`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from payins.answers import Answered, InFlight
from payins.execute import CONFIRM_NUMBER, Result
from payins.keys import attempt_key
from schemas.errors import Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.lifecycle import EventType
from schemas.rejections import RejectionCode
from service import answers, render
from service.bodies import (
    CancelBody,
    CaptureBody,
    ConfirmBody,
    CreatePaymentBody,
    OrdersBody,
    RefundBody,
)
from service.parts import (
    caller_of,
    check_reach,
    facts_of,
    field_problem,
    key_of,
    own_payment,
    parts_of,
    payment_id_of,
    wants_async,
)
from service.permissions import Operation, check_owner
from service.problems import Problem, in_flight, of_rejection
from writer.append import Appended
from writer.commands import (
    AnyCommand,
    Attempt,
    Change,
    CreatePayment,
    Deliver,
    OrderLine,
    RequestCancel,
    RequestCapture,
    RequestPayout,
    RequestRefund,
    Ship,
)
from writer.requests import differing_fields

_NOT_THE_CALLERS = frozenset({"psp", "caller", "caller_key", "psp_reference", "refund_id"})
"""Fields of commands in which requests of one caller never differ by its wish."""
CAPTURED = frozenset({EventType.CAPTURED, EventType.HONOURED})
CANCELLED = frozenset({EventType.CANCELLED})
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
KEY_LIFETIME = timedelta(days=1)
"""Within which an issued key is to be used first. A key that was used counts for ever."""
NO_NAMES: Mapping[str, str] = MappingProxyType({})
_OF_A_KEY = (
    "idempotency_key",
    "the key was used for another request; use a new key for a new request",
)
_OF_A_CONFIRMATION = (
    "payment_id",
    "a payment is confirmed once, and this one was confirmed otherwise; create another payment",
)
"""Field and text of a conflict: no key helps whoever confirms a payment in two ways."""


async def create_payment(request: Request, body: CreatePaymentBody) -> Response:
    """Charge a buyer for one or more orders."""
    caller, facts = caller_of(request), facts_of(request)
    check_owner(Operation.CREATE_PAYMENT, caller, body.buyer_id, "buyer_id")
    _check_flow(body)
    payins = parts_of(request).payins
    command = CreatePayment(
        idempotency_key=key_of(request),
        occurred_at=datetime.now(UTC),
        buyer_id=body.buyer_id,
        currency=body.currency,
        psp=payins.processors.first,
        method=body.method,
        orders=tuple(
            OrderLine(
                order_id=line.order_id,
                seller_id=line.seller_id,
                amount_minor=line.amount_minor,
                commission_minor=line.commission_minor,
                logistics_fee_minor=line.logistics_fee_minor,
            )
            for line in body.orders
        ),
        capture=body.capture,
        flow=body.flow,
        payment_token=body.payment_token,
        return_url=body.return_url,
        device_fingerprint=body.device_fingerprint,
        metadata=body.metadata or None,
        caller=caller.subject,
        caller_key=facts.idempotency_key,
    )
    result = await payins.create(command, respond_async=wants_async(request))
    return await _charge_answer(request, command, result, created=True)


def _check_flow(body: CreatePaymentBody) -> None:
    """Refuse what contradicts the flow: a token is needed, or has no place."""
    if body.flow == "direct" and body.payment_token is None:
        raise field_problem("field_missing", "payment_token", "is needed in the flow direct")
    if body.flow == "hosted" and body.payment_token is not None:
        raise field_problem("field_invalid", "payment_token", "has no place in the flow hosted")
    if body.flow == "hosted" and body.return_url is None:
        raise field_problem("field_missing", "return_url", "is needed in the flow hosted")
    if body.return_url is not None and not _is_return_url(body.return_url):
        raise field_problem(
            "field_invalid",
            "return_url",
            "is not an https URL without user info (http for this machine only)",
        )


def _is_return_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # such as a port beyond 65535
        return False
    # With user info a page shows a name that is not the one it is at.
    if not host or port == 0 or "@" in parts.netloc:
        return False
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in LOCAL_HOSTS)


async def outcome_of(
    request: Request,
    command: AnyCommand,
    result: Result,
    names: Mapping[str, str] = NO_NAMES,
) -> Answered:
    """What a request led to; `names` are the body's own names of the command's fields.

    Raises:
        Problem: it was refused, or an earlier request under its key is still being worked on.
    """
    match result:
        case Rejection():
            raise await conflict_named(request, command, result, names)
        case InFlight(retry_after_seconds=seconds):
            raise in_flight(max(1, round(seconds)))
        case Answered():
            return result


def _accepted(request: Request, command: AnyCommand, result: Result) -> Response | None:
    """The answer to whoever prefers not to wait, the same whenever the request is repeated."""
    if isinstance(result, Rejection) or not wants_async(request):
        return None
    prefix = _recorded_until(result.events, command.idempotency_key)
    return answers.accepted(prefix, replayed=result.replayed)


async def _charge_answer(
    request: Request,
    command: AnyCommand,
    result: Result,
    *,
    created: bool,
    names: Mapping[str, str] = NO_NAMES,
    more: Mapping[str, str] = NO_NAMES,
) -> Response:
    if accepted := _accepted(request, command, result):
        return accepted
    done = await outcome_of(request, command, result, names)
    key = command.idempotency_key
    return answers.charged(done.events, key, replayed=done.replayed, created=created, more=more)


async def conflict_named(
    request: Request,
    command: AnyCommand,
    rejection: Rejection,
    names: Mapping[str, str] = NO_NAMES,
) -> Problem:
    """The problem of a refusal; that of a key used twice names the fields that differ."""
    differing: tuple[str, ...] = ()
    if rejection.code == RejectionCode.IDEMPOTENCY_CONFLICT:
        events = await parts_of(request).writer.load(command.payment_id)
        rows = [event for event in events if event.idempotency_key == command.idempotency_key]
        found = differing_fields(command, rows) if rows else ()
        differing = tuple(name for name in found if name not in _NOT_THE_CALLERS)
        field, problem = _OF_A_CONFIRMATION if isinstance(command, Attempt) else _OF_A_KEY
        rejection = Rejection(code=rejection.code, field=field, problem=problem)
    currency = command.currency if isinstance(command, CreatePayment | RequestPayout) else None
    return of_rejection(rejection, differing, names, currency)


async def get_payment(request: Request, payment_id: str) -> Response:
    """Read a payment as it is now, with its history."""
    events = await own_payment(request, Operation.GET_PAYMENT, payment_id_of(payment_id))
    return answers.json(render.payment(events) | {"history": render.history(events)})


async def confirm_payment(
    request: Request, payment_id: str, body: ConfirmBody | None = None
) -> Response:
    """Charge a payment that was created to be confirmed."""
    found, asked = payment_id_of(payment_id), body or ConfirmBody()
    await check_reach(request, Operation.CONFIRM_PAYMENT, found)
    return await confirmed(request, found, asked.method, asked.payment_token)


async def confirmed(
    request: Request,
    payment_id: PaymentId,
    method: str | None,
    payment_token: str | None,
    *,
    names: Mapping[str, str] = NO_NAMES,
    more: Mapping[str, str] = NO_NAMES,
) -> Response:
    """Charge a payment once, whatever the key: the same confirmation gets the same answer."""
    payins = parts_of(request).payins
    result = await payins.confirm(
        payment_id,
        method=method,
        payment_token=payment_token,
        respond_async=wants_async(request),
    )
    command = Attempt(
        idempotency_key=attempt_key(CONFIRM_NUMBER),
        occurred_at=datetime.now(UTC),
        payment_id=payment_id,
        psp=payins.processors.first,
        method=method,
        payment_token=payment_token,
    )
    return await _charge_answer(request, command, result, created=False, names=names, more=more)


async def capture_payment(
    request: Request, payment_id: str, body: CaptureBody | None = None
) -> Response:
    """Take what was authorized, wholly or in part."""
    asked = body or CaptureBody()
    command = RequestCapture(
        **_change(request, payment_id),
        order_id=asked.order_id,
        amount_minor=asked.amount_minor,
        final=asked.final or None,
    )
    await check_reach(request, Operation.CAPTURE_PAYMENT, command.payment_id)
    result = await parts_of(request).payins.capture(command, respond_async=wants_async(request))
    return await _changed(request, command, result, CAPTURED, "capture_failed")


async def cancel_payment(
    request: Request, payment_id: str, body: CancelBody | None = None
) -> Response:
    """End a payment of which nothing was taken."""
    asked = body or CancelBody()
    command = RequestCancel(
        **_change(request, payment_id), order_id=asked.order_id, reason=asked.reason
    )
    await check_reach(request, Operation.CANCEL_PAYMENT, command.payment_id)
    result = await parts_of(request).payins.cancel(command, respond_async=wants_async(request))
    return await _changed(request, command, result, CANCELLED, "cancel_failed")


async def refund_payment(
    request: Request, payment_id: str, body: RefundBody | None = None
) -> Response:
    """Give back what was taken, wholly or in part."""
    asked = body or RefundBody()
    # The same request has the same refund, whichever process serves it.
    refund_id = key_of(request).rpartition(":")[2]
    command = RequestRefund(
        **_change(request, payment_id),
        order_id=asked.order_id,
        amount_minor=asked.amount_minor,
        refund_id=refund_id,
        reason=asked.reason,
    )
    await check_reach(request, Operation.REFUND_PAYMENT, command.payment_id)
    result = await parts_of(request).payins.refund(command, respond_async=wants_async(request))
    done = await outcome_of(request, command, result)
    return answers.refunded(done.events, refund_id, replayed=done.replayed)


async def ship_orders(
    request: Request, payment_id: str, body: OrdersBody | None = None
) -> Response:
    """Record that parcels left."""
    asked = body or OrdersBody()
    command = Ship(**_change(request, payment_id), order_id=asked.order_id)
    return await _recorded(request, Operation.SHIP_ORDERS, command)


async def deliver_orders(
    request: Request, payment_id: str, body: OrdersBody | None = None
) -> Response:
    """Record that the goods are with the buyer."""
    asked = body or OrdersBody()
    command = Deliver(**_change(request, payment_id), order_id=asked.order_id)
    return await _recorded(request, Operation.DELIVER_ORDERS, command)


async def issue_idempotency_key(request: Request) -> Response:
    """Get a key to submit a payment with."""
    expires_at = datetime.now(UTC) + KEY_LIFETIME
    content = {"idempotency_key": str(uuid4()), "expires_at": expires_at}
    return answers.json(content, 201)


def _recorded_until(events: Sequence[Event], key: str) -> list[Event]:
    """The stream up to the rows of the request itself."""
    last_seq = max(event.seq for event in events if event.idempotency_key == key)
    return [event for event in events if event.seq <= last_seq]


def _change(request: Request, payment_id: str) -> dict[str, Any]:
    return {
        "idempotency_key": key_of(request),
        "occurred_at": datetime.now(UTC),
        "payment_id": payment_id_of(payment_id),
    }


async def _changed(
    request: Request,
    command: Change,
    result: Result,
    wanted: frozenset[EventType],
    code: str,
) -> Response:
    if accepted := _accepted(request, command, result):
        return accepted
    done = await outcome_of(request, command, result)
    key = command.idempotency_key
    return answers.changed(done.events, key, replayed=done.replayed, wanted=wanted, code=code)


async def _recorded(request: Request, operation: Operation, command: Change) -> Response:
    """Append what happened to the goods; no processor is asked."""
    await check_reach(request, operation, command.payment_id)
    writer = parts_of(request).writer
    answer = await writer.handle(command)
    if isinstance(answer, Rejection):
        raise await conflict_named(request, command, answer)
    assert isinstance(answer, Appended)
    events = await writer.load(command.payment_id)
    prefix = [event for event in events if event.seq <= answer.events[-1].seq]
    return answers.keyed_json(render.payment(prefix), 200, replayed=answer.already_done)

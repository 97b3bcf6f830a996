"""HTTP answers: status, headers and bytes of what payments in say.

An answer that is repeated for ever is made here from a prefix of the payment's stream and nothing
else: no clock, and no id of the request that happens to ask. So its bytes are the same from every
process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from schemas.events import Event
from schemas.lifecycle import EventType, Status
from service import render
from service.facts import request_id_of
from service.gate import KeyedResponse
from service.problems import MEDIA_TYPE, Problem

JSON = "application/json"
_encoder = msgspec.json.Encoder()

_CHARGE_STATUSES: Mapping[Status, int] = {
    Status.CREATED: 201,
    Status.AUTHORIZED: 201,
    Status.CAPTURED: 201,
    Status.ACTION_REQUIRED: 201,
    Status.PROCESSING: 202,
    Status.UNKNOWN: 202,
    Status.FAILED: 402,
    Status.CANCELLED: 402,
    Status.EXPIRED: 402,
}
"""A payment's status after a request to charge -> the status of the answer."""


def json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is made for this request alone."""
    response = Response(_encoder.encode(content), status, media_type=JSON)
    response.headers.update(headers or {})
    return response


def keyed(
    content: bytes,
    status: int,
    *,
    replayed: bool,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> KeyedResponse:
    """An answer that every repetition of the request gets again."""
    response = KeyedResponse(content, status, media_type=media_type)
    response.headers.update(headers or {})
    response.is_final = True
    response.replayed = replayed
    return response


def keyed_json(
    content: Any, status: int, *, replayed: bool, headers: Mapping[str, str] | None = None
) -> KeyedResponse:
    """The same, of something that becomes JSON."""
    return keyed(_encoder.encode(content), status, replayed=replayed, headers=headers)


def location(payment_id: object) -> dict[str, str]:
    """The header that names the payment."""
    return {"Location": f"/v1/payments/{payment_id}"}


def charged(
    events: Sequence[Event], key: str, *, replayed: bool, created: bool, more: Mapping[str, str]
) -> KeyedResponse:
    """The answer to a request to charge: 201 (200 if nothing was created), 202, or 402."""
    body = render.payment(events) | dict(more)
    status = _CHARGE_STATUSES[body["status"]]
    if status == 402:
        return _declined(body, key, replayed=replayed)
    if status == 201 and not created:
        status = 200
    return keyed_json(body, status, replayed=replayed, headers=location(body["id"]))


def accepted(events: Sequence[Event], *, replayed: bool) -> KeyedResponse:
    """The answer to `Prefer: respond-async`: the payment as it was recorded."""
    headers = {**location(events[0].payment_id), "Preference-Applied": "respond-async"}
    return keyed_json(render.payment(events), 202, replayed=replayed, headers=headers)


def changed(
    events: Sequence[Event], key: str, *, replayed: bool, wanted: frozenset[EventType], code: str
) -> KeyedResponse:
    """The answer to a request to change a payment: 200 if `wanted` happened, else a problem."""
    last = events[-1]
    body = render.payment(events)
    if last.event_type in wanted:
        return keyed_json(body, 200, replayed=replayed)
    reason = render.reason_of(last)
    detail = f"the payment is {body['status']}" + (f": {reason}" if reason else "")
    problem = Problem(code, detail, more={"payment": body})
    return _final_problem(problem, body["id"], key, replayed=replayed)


def refunded(events: Sequence[Event], refund_id: str, *, replayed: bool) -> KeyedResponse:
    """The answer to a request to refund: what was reserved for it."""
    body = render.refund(events, refund_id)
    return keyed_json(body, 201, replayed=replayed, headers=location(body["payment_id"]))


def _declined(body: dict[str, Any], key: str, *, replayed: bool) -> KeyedResponse:
    failure = body["failure"] or {
        "code": body["status"],
        "message": f"the payment is {body['status']}; create another one",
        "retryable": False,
    }
    problem = Problem(
        "payment_declined", failure["message"], more={"failure": failure, "payment": body}
    )
    return _final_problem(problem, body["id"], key, replayed=replayed)


def _final_problem(
    problem: Problem, payment_id: object, key: str, *, replayed: bool
) -> KeyedResponse:
    # Whoever repeats a request gets the same bytes, so the id is that of the request as such: of
    # the payment and the key under which its intent is kept.
    request_id = request_id_of(payment_id, key)
    response = keyed(
        problem.body(request_id), problem.status_code, replayed=replayed, media_type=MEDIA_TYPE
    )
    response.request_id = request_id
    return response

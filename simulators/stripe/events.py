"""Stripe's events, as the API lists them: what happened, and whether the endpoints were told."""

from collections.abc import Mapping
from typing import Any

from simulators.stripe import parameters
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.errors import StripeError
from simulators.stripe.event_log import FREQUENT
from simulators.stripe.lists import LIMIT, PAGING, Conditions, span_by_number
from simulators.stripe.store import Body

TYPES_MOST = 20

_LIST = {
    **PAGING,
    "type": parameters.text,
    "types": parameters.texts,
    "delivery_success": parameters.boolean,
}


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/events/{id}."""
    parameters.checked(call.params, {})
    return account.events.by_id(call.identity)


def list_(account: Account, call: Call) -> Body:
    """GET /v1/events."""
    given = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    _types(given, conditions)
    if "delivery_success" in given:
        conditions.add("undelivered = 0" if given["delivery_success"] else "undelivered > 0")
    after, before = given.get("starting_after"), given.get("ending_before")
    if after and before:
        raise StripeError(
            "You can only specify one of these parameters: ending_before, starting_after.",
            param="starting_after",
        )
    if after:
        conditions.add("n < ?", account.events.number_of(after, "starting_after"))
    if before:
        conditions.add("n > ?", account.events.number_of(before, "ending_before"))
    span_by_number(account.store, "events", given.get("created", {}), conditions)
    limit = given.get("limit", LIMIT)
    rows = account.events.page(conditions, "ASC" if before else "DESC", limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    if before:
        rows.reverse()
    data = [account.events.body(row) for row in rows]
    return {"object": "list", "data": data, "has_more": more, "url": "/v1/events"}


def _types(given: Mapping[str, Any], conditions: Conditions) -> None:
    """Limit the types; a `*` at the end of one stands for anything."""
    types = [given["type"]] if "type" in given else given.get("types")
    if types is None:
        return
    if "type" in given and "types" in given:
        raise StripeError(
            "You may only specify one of these parameters: type, types.", param="type"
        )
    if not 0 < len(types) <= TYPES_MOST:
        raise StripeError(f"types must have 1 to {TYPES_MOST} entries", param="types")
    parts = [_condition(each) for each in types]
    conditions.add(f"({' OR '.join(parts)})", *types)


def _condition(event_type: str) -> str:
    if event_type.endswith("*"):
        return "type GLOB ?"
    return "type = ?" if event_type in FREQUENT else "rare = ?"

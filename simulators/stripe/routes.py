"""Which function answers which path: the table of contents of the simulator's Stripe API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from simulators.stripe import (
    charges,
    customers,
    disputes,
    endpoints,
    events,
    intents,
    methods,
    payouts,
    refunds,
    search,
    sessions,
    transactions,
)
from simulators.stripe.account import Account
from simulators.stripe.errors import StripeError

Handler = Callable[[Account, Any], Any]
ID = "{id}"

ROUTES: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        ("POST", "/v1/payment_intents"): intents.create,
        ("GET", "/v1/payment_intents"): intents.list_,
        ("GET", "/v1/payment_intents/search"): search.payment_intents,
        ("GET", "/v1/payment_intents/{id}"): intents.retrieve,
        ("POST", "/v1/payment_intents/{id}"): intents.update,
        ("POST", "/v1/payment_intents/{id}/confirm"): intents.confirm,
        ("POST", "/v1/payment_intents/{id}/capture"): intents.capture,
        ("POST", "/v1/payment_intents/{id}/cancel"): intents.cancel,
        ("GET", "/v1/charges"): charges.list_,
        ("GET", "/v1/charges/{id}"): charges.retrieve,
        ("POST", "/v1/charges/{id}"): charges.update,
        ("GET", "/v1/charges/{id}/refunds"): charges.refunds,
        ("POST", "/v1/refunds"): refunds.create,
        ("GET", "/v1/refunds"): refunds.list_,
        ("GET", "/v1/refunds/{id}"): refunds.retrieve,
        ("POST", "/v1/refunds/{id}"): refunds.update,
        ("POST", "/v1/refunds/{id}/cancel"): refunds.cancel,
        ("POST", "/v1/checkout/sessions"): sessions.create,
        ("GET", "/v1/checkout/sessions"): sessions.list_,
        ("GET", "/v1/checkout/sessions/{id}"): sessions.retrieve,
        ("POST", "/v1/checkout/sessions/{id}"): sessions.update,
        ("POST", "/v1/checkout/sessions/{id}/expire"): sessions.expire,
        ("GET", "/v1/checkout/sessions/{id}/line_items"): sessions.line_items,
        ("GET", "/v1/disputes"): disputes.list_,
        ("GET", "/v1/disputes/{id}"): disputes.retrieve,
        ("POST", "/v1/disputes/{id}"): disputes.update,
        ("POST", "/v1/disputes/{id}/close"): disputes.close,
        ("GET", "/v1/events"): events.list_,
        ("GET", "/v1/events/{id}"): events.retrieve,
        ("GET", "/v1/balance"): transactions.balance,
        ("GET", "/v1/balance_transactions"): transactions.list_,
        ("GET", "/v1/balance_transactions/{id}"): transactions.retrieve,
        ("GET", "/v1/payouts"): payouts.list_,
        ("GET", "/v1/payouts/{id}"): payouts.retrieve,
        ("POST", "/v1/payment_methods"): methods.create,
        ("GET", "/v1/payment_methods"): methods.list_,
        ("GET", "/v1/payment_methods/{id}"): methods.retrieve,
        ("POST", "/v1/payment_methods/{id}"): methods.update,
        ("POST", "/v1/payment_methods/{id}/attach"): methods.attach,
        ("POST", "/v1/payment_methods/{id}/detach"): methods.detach,
        ("POST", "/v1/customers"): customers.create,
        ("GET", "/v1/customers"): customers.list_,
        ("GET", "/v1/customers/{id}"): customers.retrieve,
        ("POST", "/v1/customers/{id}"): customers.update,
        ("DELETE", "/v1/customers/{id}"): customers.delete,
        ("POST", "/v1/webhook_endpoints"): endpoints.create,
        ("GET", "/v1/webhook_endpoints"): endpoints.list_,
        ("GET", "/v1/webhook_endpoints/{id}"): endpoints.retrieve,
        ("POST", "/v1/webhook_endpoints/{id}"): endpoints.update,
        ("DELETE", "/v1/webhook_endpoints/{id}"): endpoints.delete,
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a call: the path without ids, the id in it, the function."""

    path: str
    identity: str
    handler: Handler


def find(method: str, path: str) -> Route:
    """The route of a call; raises StripeError if there is none."""
    path = path.rstrip("/")
    if handler := ROUTES.get((method, path)):
        return Route(path, "", handler)
    parts = path.split("/")
    place = 4 if path.startswith("/v1/checkout/") else 3
    if len(parts) > place and parts[place]:
        identity, parts[place] = parts[place], ID
        general = "/".join(parts)
        if handler := ROUTES.get((method, general)):
            return Route(general, identity, handler)
    raise StripeError(
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove"
        " the trailing slash. If you are trying to retrieve an object, make sure you passed a valid"
        " (non-empty) identifier in your code.",
        status=404,
    )

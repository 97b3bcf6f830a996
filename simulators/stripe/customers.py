"""Customers: as much of them as payments need."""

from simulators.stripe import objects, parameters
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.kinds import CUSTOMER
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

_PARAMETERS = {
    "email": parameters.optional_text,
    "name": parameters.optional_text,
    "phone": parameters.optional_text,
    "description": parameters.optional_text,
    "address": parameters.hashed,
    "shipping": parameters.hashed,
    "metadata": parameters.metadata,
}


def create(account: Account, call: Call) -> Body:
    """POST /v1/customers."""
    given = parameters.checked(call.params, _PARAMETERS)
    given["metadata"] = parameters.merged({}, given.get("metadata"))
    body = objects.customer(account.store.new_id(CUSTOMER), account.now, **given)
    account.store.insert(CUSTOMER, body)
    account.emit("customer.created", body)
    return body


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/customers/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(CUSTOMER, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/customers/{id}."""
    given = parameters.checked(call.params, _PARAMETERS)
    body = account.store.get(CUSTOMER, call.identity)
    metadata = parameters.merged(body["metadata"], given.pop("metadata", None))
    body.update(given, metadata=metadata)
    account.store.save(CUSTOMER, body)
    account.emit("customer.updated", body)
    return body


def delete(account: Account, call: Call) -> Body:
    """DELETE /v1/customers/{id}."""
    body = account.store.get(CUSTOMER, call.identity)
    account.store.delete(CUSTOMER, call.identity)
    account.emit("customer.deleted", body)
    return {"id": call.identity, "object": "customer", "deleted": True}


def list_(account: Account, call: Call) -> Body:
    """GET /v1/customers."""
    given = parameters.checked(call.params, {**PAGING, "email": parameters.text})
    conditions = Conditions()
    if "email" in given:
        conditions.add("email = ?", given["email"])
    return page_of(account.store, CUSTOMER, given, conditions)

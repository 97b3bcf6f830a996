"""Webhook endpoints: who is told of which events, signed with which secret."""

import json
from typing import Any

from simulators.stripe import ids, objects, parameters
from simulators.stripe.account import API_VERSION, Account
from simulators.stripe.calls import Call
from simulators.stripe.errors import StripeError
from simulators.stripe.event_log import Subscription
from simulators.stripe.kinds import ENDPOINT
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

SECRET_LENGTH = 32
OWN_ID = "we_1PurserSettings"
"""The endpoint of the simulator's settings."""
TYPES_MOST = 250


def _url(name: str, value: Any) -> str:
    url = parameters.text(name, value, length=2000)
    if not url.startswith(("http://", "https://")) or not url.partition("://")[2]:
        raise StripeError(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            code="url_invalid",
            param=name,
        )
    return url


def _types(name: str, value: Any) -> list[str]:
    types = parameters.texts(name, value)
    if not 0 < len(types) <= TYPES_MOST:
        raise StripeError(f"{name} must have 1 to {TYPES_MOST} types of events", param=name)
    for each in types:
        parameters.text(name, each)
    return types


_UPDATE = {
    "description": parameters.optional_text,
    "enabled_events": _types,
    "metadata": parameters.metadata,
    "url": _url,
}
_CREATE = {**_UPDATE, "api_version": parameters.text, "connect": parameters.anything}


def subscribe(account: Account) -> None:
    """Let events be delivered to all endpoints that are enabled."""
    account.events.subscriptions = tuple(
        Subscription(endpoint=each["id"], types=frozenset(each["enabled_events"]))
        for each in account.store.where(ENDPOINT, {}, newest_first=False)
        if each["status"] == "enabled"
    )


def secrets_of(account: Account, identity: str) -> tuple[str, tuple[str, ...]] | None:
    """The address of an endpoint and the secrets that sign; None if there is none."""
    body = account.store.find(ENDPOINT, identity)
    if body is None or body["status"] != "enabled":
        return None
    return body["url"], tuple(json.loads(account.store.hidden(ENDPOINT, identity, "secrets")))


def set_up(
    account: Account, url: str | None, types: tuple[str, ...], secrets: tuple[str, ...]
) -> None:
    """Keep the endpoint of the settings; without an address it is removed."""
    kept = account.store.find(ENDPOINT, OWN_ID)
    if url is None:
        account.store.delete(ENDPOINT, OWN_ID)
        account.events.forget(OWN_ID)
        return
    body = kept or objects.endpoint(OWN_ID, account.now, description="From the settings")
    body.update(url=url, enabled_events=list(types), api_version=API_VERSION, status="enabled")
    if kept is None:
        account.store.insert(ENDPOINT, body)
    else:
        account.store.save(ENDPOINT, body)
    account.store.hide(ENDPOINT, OWN_ID, secrets=json.dumps(secrets))


def create(account: Account, call: Call) -> Body:
    """POST /v1/webhook_endpoints; only this answer has the secret."""
    given = parameters.checked(call.params, _CREATE, required=("enabled_events", "url"))
    given.pop("connect", None)
    given["metadata"] = parameters.merged({}, given.get("metadata"))
    secret = f"whsec_{ids.random_text(SECRET_LENGTH)}"
    body = objects.endpoint(account.store.new_id(ENDPOINT), account.now, **given)
    account.store.insert(ENDPOINT, body, secrets=json.dumps([secret]))
    subscribe(account)
    return {**body, "secret": secret}


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/webhook_endpoints/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(ENDPOINT, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/webhook_endpoints/{id}."""
    given = parameters.checked(call.params, {**_UPDATE, "disabled": parameters.boolean})
    body = account.store.get(ENDPOINT, call.identity)
    if "disabled" in given:
        body["status"] = "disabled" if given.pop("disabled") else "enabled"
    metadata = parameters.merged(body["metadata"], given.pop("metadata", None))
    body.update(given, metadata=metadata)
    account.store.save(ENDPOINT, body)
    subscribe(account)
    return body


def delete(account: Account, call: Call) -> Body:
    """DELETE /v1/webhook_endpoints/{id}."""
    account.store.get(ENDPOINT, call.identity)
    account.store.delete(ENDPOINT, call.identity)
    account.events.forget(call.identity)
    subscribe(account)
    return {"id": call.identity, "object": "webhook_endpoint", "deleted": True}


def list_(account: Account, call: Call) -> Body:
    """GET /v1/webhook_endpoints."""
    given = parameters.checked(call.params, PAGING)
    return page_of(account.store, ENDPOINT, given, Conditions())

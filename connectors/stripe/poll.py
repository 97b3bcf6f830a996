"""Reads Stripe's lists to their end: events after an outage, and the books.

Webhooks can be lost, so what they say must be had by asking as well. Lists come newest first.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

from connectors.charges import BookEntry, ProcessorEvent
from connectors.stripe import objects, translate, webhook
from connectors.stripe.client import StripeClient
from connectors.stripe.failures import unreadable
from connectors.stripe.objects import Object
from connectors.stripe.requests import Params
from schemas.errors import InputError

PAGE = 100
"""The most that Stripe puts on a page."""
EVENTS_KEPT_DAYS = 30
"""Stripe forgets older events: after a longer outage look the pending payments up one by one."""

Get = Callable[[str, Params], Awaitable[Object]]
"""Reads an address with its parameters."""


async def pages(get: Get, path: str, params: Params) -> AsyncIterator[list[Object]]:
    """Yield the pages of a list, newest first; `get` reads one.

    Raises:
        ProcessorError: a page could not be read; read again from the start.
    """
    asked = {"limit": PAGE, **params}
    while True:
        answer = await get(path, asked)
        page = list(objects.items(answer))
        yield page
        if not page or not objects.has_more(answer):
            return
        last = objects.identifier(page[-1], "id")
        if asked.get("starting_after") == last:
            raise unreadable("a list that does not end")
        asked["starting_after"] = last


def created(since: datetime, until: datetime | None = None) -> Params:
    """Limit a list to what was made from `since` on, and before `until`; whole seconds."""
    limits = {"gte": int(since.timestamp())}
    if until is not None:
        limits["lt"] = int(until.timestamp())
    return {"created": limits}


async def events(
    client: StripeClient,
    since: datetime,
    until: datetime | None = None,
    *,
    undelivered_only: bool = False,
) -> AsyncIterator[ProcessorEvent]:
    """Yield the events about charges between two times, newest first.

    Each says as much as its webhook. Stripe keeps events for 30 days. `undelivered_only`: those
    that some endpoint has not taken (https://docs.stripe.com/webhooks/process-undelivered-events).
    """
    asked: Params = {"types": list(webhook.POLLED), **created(since, until)}
    if undelivered_only:
        asked["delivery_success"] = False
    async for page in pages(client.get, "/v1/events", asked):
        for source in page:
            try:
                event = webhook.event(source)
            except InputError as error:
                raise unreadable(f"an event without {error.problem!r}") from None
            yield event


async def book_entries(
    client: StripeClient, since: datetime, until: datetime | None = None
) -> AsyncIterator[BookEntry]:
    """Yield the lines of Stripe's books since a time, newest first; in the order of their making.

    A partial capture that is followed by another makes two lines.
    """
    async for page in pages(client.get, "/v1/balance_transactions", created(since, until)):
        for line in page:
            yield translate.book_entry(line)

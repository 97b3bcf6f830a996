"""Looks for the charges of a payment at Stripe, best evidence first.

1. The reference, if it is known.
2. Stripe's search by our payment's id in the metadata. It lags: usually less than a minute behind,
   up to an hour in bad times (https://docs.stripe.com/search#data-freshness). What it finds is
   there; what it does not find proves nothing.
3. The lists of intents and of pages since the payment was created, which lag behind nothing. Read
   to their end they prove absence. First the minutes after the creation, where a charge most likely
   is.
4. If the lists were too long to be read to their end: the books, in which money shows that moved.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from connectors.charges import Charge, Lookup
from connectors.stripe import objects, poll
from connectors.stripe.client import StripeClient
from connectors.stripe.objects import Object
from connectors.stripe.requests import PAYMENT_ID, Params, search
from schemas.errors import ProcessorRefused

Retrieve = Callable[[str], Awaitable[Charge]]

CLOCKS_DIFFER = timedelta(minutes=5)
LIKELY = timedelta(minutes=10)
NOT_FOUND = "resource_missing"


async def find(
    client: StripeClient,
    retrieve: Retrieve,
    payment_id: UUID,
    *,
    since: datetime,
    now: datetime,
    reference: str | None,
    pages_most: int,
) -> Lookup:
    """Return the charges of a payment, or that there are none; at most `pages_most` of each list.

    Raises:
        ProcessorError: a source could not be read; nothing is proven.
    """
    sources: list[str] = []

    async def found(references: list[str], *, complete: bool = False) -> Lookup:
        charges = [await retrieve(each) for each in references]
        return Lookup(
            charges=tuple(charges),
            sources=tuple(sources),
            complete=complete,
            looked_at=now,
        )

    if reference is not None:
        sources.append("reference")
        if charge := await _known(retrieve, reference, payment_id):
            return Lookup(charges=(charge,), sources=("reference",), complete=False, looked_at=now)
    if references := await _searched(client, payment_id, sources):
        return await found(references)
    complete = True
    start = since - CLOCKS_DIFFER
    for begin, end in ((start, since + LIKELY), (since + LIKELY, now + CLOCKS_DIFFER)):
        if begin >= end:
            continue
        sources.append("list")
        for path in ("/v1/payment_intents", "/v1/checkout/sessions"):
            references, whole = await _listed(
                client, path, payment_id, poll.created(begin, end), pages_most
            )
            if references:
                return await found(references)
            complete &= whole
    if not complete:
        sources.append("books")
        return await found(await _booked(client, payment_id, start, pages_most))
    return await found([], complete=True)


async def _known(retrieve: Retrieve, reference: str, payment_id: UUID) -> Charge | None:
    """Read the charge of a reference; None if there is none, or it is another payment's."""
    try:
        charge = await retrieve(reference)
    except ProcessorRefused as refused:
        if refused.code != NOT_FOUND:
            raise
        return None
    return charge if charge.payment_id == payment_id else None


async def _searched(client: StripeClient, payment_id: UUID, sources: list[str]) -> list[str]:
    """Search by metadata; nothing where an account has no search, as in India."""
    try:
        answer = await client.get("/v1/payment_intents/search", search(payment_id))
    except ProcessorRefused:
        return []
    sources.append("search")
    return _carrying(payment_id, objects.items(answer))


async def _listed(
    client: StripeClient, path: str, payment_id: UUID, limits: Params, pages_most: int
) -> tuple[list[str], bool]:
    """Return the references in a list that carry the payment's id, and whether it was all read."""
    references: list[str] = []
    number = 0
    async for page in _at_most(poll.pages(client, path, limits), pages_most):
        number += 1
        references += _carrying(payment_id, page)
    return references, number < pages_most


def _carrying(payment_id: UUID, found: Iterable[Object]) -> list[str]:
    return [
        objects.identifier(item, "id")
        for item in found
        if objects.payment_id(item, PAYMENT_ID) == payment_id
    ]


async def _booked(
    client: StripeClient, payment_id: UUID, since: datetime, pages_most: int
) -> list[str]:
    """Return the references of charges in the books that carry the payment's id."""
    asked = {"expand": ["data.source"], **poll.created(since)}
    references: list[str] = []
    async for page in _at_most(poll.pages(client, "/v1/balance_transactions", asked), pages_most):
        charges = [objects.part(line, "source") for line in page]
        references += [
            objects.identifier(charge, "payment_intent")
            for charge in charges
            if charge is not None and objects.payment_id(charge, PAYMENT_ID) == payment_id
        ]
    return list(dict.fromkeys(references))


async def _at_most(source: AsyncIterator[list[Object]], most: int) -> AsyncIterator[list[Object]]:
    number = 0
    async for page in source:
        yield page
        number += 1
        if number == most:
            return

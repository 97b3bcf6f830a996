"""Looks for the charges of a payment at Stripe, best evidence first.

1. The reference, if it is known.
2. Stripe's search by our payment's id in the metadata. It lags: usually less than a minute behind,
   up to an hour in bad times (https://docs.stripe.com/search#data-freshness). What it finds is
   there. What it does not find a day after the last charge could be made is not there.
3. The lists of intents and of pages of the time in which the charge can have been made, which lag
   behind nothing. Read to their end they prove absence. First the minutes in which it most likely
   was.
4. If the lists were too long to be read to their end: the books, in which money shows that moved.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
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
SEARCH_LAGS_MOST = timedelta(hours=24)
NOT_FOUND = "resource_missing"
LISTS = ("/v1/payment_intents", "/v1/checkout/sessions")


@dataclass(slots=True, kw_only=True)
class Search:
    """One look-up; it reads at most `pages_most` pages of each list.

    With `intent_seq` the charge of that attempt is wanted, and others are only taken along.
    """

    client: StripeClient
    retrieve: Retrieve
    payment_id: UUID
    intent_seq: int | None
    pages_most: int
    charges: dict[str, Charge] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    async def find(
        self, since: datetime, until: datetime | None, now: datetime, reference: str | None
    ) -> Lookup:
        """Look in each source until the wanted charge is found, or nothing is left to read.

        Raises:
            ProcessorError: a source could not be read; nothing is proven.
        """
        complete = await self._through(since, min(until or now, now), now, reference)
        return Lookup(
            charges=tuple(self.charges.values()),
            sources=tuple(self.sources),
            complete=complete,
            looked_at=now,
            intent_seq=self.intent_seq,
        )

    async def _through(
        self, since: datetime, until: datetime, now: datetime, reference: str | None
    ) -> bool:
        """Return whether what was read holds every charge that was made from `since` to `until`."""
        if reference is not None:
            self.sources.append("reference")
            if await self._take([reference]):
                return False
        if await self._searched():
            return False
        if "search" in self.sources and now - until >= SEARCH_LAGS_MOST:
            return True
        whole = True
        start = since - CLOCKS_DIFFER
        for begin, end in ((start, since + LIKELY), (since + LIKELY, until + CLOCKS_DIFFER)):
            if begin >= end:
                continue
            self.sources.append("list")
            for path in LISTS:
                found, read = await self._listed(path, poll.created(begin, end))
                if found:
                    return False
                whole &= read
        if not whole:
            self.sources.append("books")
            await self._booked(start)
        return whole

    async def _take(self, references: Iterable[str]) -> bool:
        """Read these charges; return whether a wanted one is among them.

        One that is gone, or is another payment's, is left out.
        """
        for reference in references:
            if reference in self.charges:
                continue
            try:
                charge = await self.retrieve(reference)
            except ProcessorRefused as refused:
                if refused.code != NOT_FOUND:
                    raise
                continue
            if charge.payment_id == self.payment_id:
                self.charges[charge.reference] = charge
        return any(self.intent_seq in (None, charge.intent_seq) for charge in self.charges.values())

    async def _searched(self) -> bool:
        """Search by metadata; not where an account has no search, as in India."""
        try:
            answer = await self.client.get("/v1/payment_intents/search", search(self.payment_id))
        except ProcessorRefused:
            return False
        self.sources.append("search")
        return await self._take(self._ours(objects.items(answer)))

    async def _listed(self, path: str, limits: Params) -> tuple[bool, bool]:
        """Return whether a list holds a wanted charge, and whether it was read to its end."""
        number = 0
        async for page in self._pages(path, limits):
            number += 1
            if await self._take(self._ours(page)):
                return True, False
        return False, number < self.pages_most

    async def _booked(self, since: datetime) -> None:
        """Look at the charges in the books; a line holds the charge, which names its intent."""
        asked = {"expand": ["data.source"], **poll.created(since)}
        async for page in self._pages("/v1/balance_transactions", asked):
            sources = [objects.part(line, "source") for line in page]
            charges = [source for source in sources if source is not None]
            if await self._take(self._ours(charges, "payment_intent")):
                return

    def _ours(self, found: Iterable[Object], name: str = "id") -> list[str]:
        """Return the references of what carries the payment's id."""
        return [
            objects.identifier(item, name)
            for item in found
            if objects.payment_id(item, PAYMENT_ID) == self.payment_id
        ]

    async def _pages(self, path: str, params: Params) -> AsyncIterator[list[Object]]:
        number = 0
        async for page in poll.pages(self.client.get, path, params):
            yield page
            number += 1
            if number == self.pages_most:
                return

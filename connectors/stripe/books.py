"""Reads Stripe's books to their end: balance transactions with what moved them.

Reading needs only a key that may read balance transactions, charges, refunds and disputes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

from connectors.books import BookLine
from connectors.stripe import objects, poll
from connectors.stripe.amounts import STRIPE
from connectors.stripe.book_lines import line
from connectors.stripe.client import StripeClient
from connectors.stripe.objects import Object
from connectors.stripe.requests import Params
from connectors.stripe.settings import StripeSettings
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError

TRANSACTIONS = "/v1/balance_transactions"
EXPANDED = ["data.source.payment_intent"]
PAGE_ATTEMPTS = 5
"""A long reading must not end because one page failed; each attempt is a call with its own."""
PAGE_PAUSE_SECONDS = 1.0


class StripeBooks:
    """Reads Stripe's books; implements `connectors.books.Books`. `close` it."""

    def __init__(
        self,
        settings: StripeSettings,
        *,
        client: StripeClient | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client or StripeClient(settings)
        self._pause = pause
        self._reached = False

    @property
    def psp(self) -> str:
        """As in `payments.psp`."""
        return STRIPE

    async def lines(self, since: datetime | None) -> AsyncIterator[Sequence[BookLine]]:
        """Yield all lines since a time, newest first, a hundred at once.

        Raises:
            ProcessorError: a page could not be read, also after several attempts.
        """
        limits = poll.created(since) if since is not None else {}
        async for page in self._pages({**limits, "expand": EXPANDED}):
            yield [line(each) for each in page]

    async def about(self, reference: str) -> Sequence[BookLine]:
        """Return all lines of a charge (by its intent's id or its own), refund or dispute.

        Raises:
            ProcessorError: they cannot be read.
        """
        if not reference.startswith("pi_"):
            return await self._of_source(reference)
        found: list[BookLine] = []
        answer = await self._get("/v1/charges", {"payment_intent": reference, "limit": poll.PAGE})
        for charge in objects.items(answer):
            found += await self._of_source(objects.identifier(charge, "id"))
            reversal = objects.id_of(charge, "failure_balance_transaction")
            if reversal is not None and all(each.entry.reference != reversal for each in found):
                asked: Params = {"expand": ["source.payment_intent"]}
                found.append(line(await self._get(f"{TRANSACTIONS}/{reversal}", asked)))
        return found

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _of_source(self, source: str) -> list[BookLine]:
        asked: Params = {"source": source, "expand": EXPANDED}
        return [line(each) async for page in self._pages(asked) for each in page]

    def _pages(self, params: Params) -> AsyncIterator[list[Object]]:
        return poll.pages(self._get, TRANSACTIONS, params)

    async def _get(self, path: str, params: Params) -> Object:
        """Read once more what failed for now; the first call shows whether Stripe is there."""
        failed: ProcessorError | None = None
        for attempt in range(PAGE_ATTEMPTS if self._reached else 1):
            if attempt:
                await self._pause(PAGE_PAUSE_SECONDS * attempt)
            try:
                answer = await self._client.get(path, params)
                self._reached = True
                return answer
            except (NotSent, OutcomeUnknown) as error:
                failed = error
        assert failed is not None
        raise failed

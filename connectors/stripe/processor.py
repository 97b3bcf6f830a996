"""Stripe as a `Processor`: each operation is one call whose answer is the charge, whole.

Calls per operation: a direct charge, a capture, a cancellation, a refund and a look are one each.
One more is made only for a charge with disputes, which no expansion gives, one for a charge
with more than ten refunds, and two to cancel a payment on Stripe's page.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from connectors.charges import (
    Charge,
    ChargeRequest,
    ChargeStatus,
    Lookup,
    ProcessorEvent,
    Terms,
)
from connectors.stripe import lookup, objects, poll, requests, translate
from connectors.stripe.amounts import STRIPE
from connectors.stripe.client import Declined, StripeClient
from connectors.stripe.objects import Object
from connectors.stripe.requests import CHARGE_WHOLE, SESSION_WHOLE
from connectors.stripe.settings import StripeSettings
from schemas.errors import ProcessorRefused

INTENTS = "/v1/payment_intents"
SESSIONS = "/v1/checkout/sessions"
INTENT_PREFIX = "pi_"
SESSION_PREFIX = "cs_"

KEYS_KEPT = timedelta(hours=24)
"""Stripe may forget an idempotency key after that (https://docs.stripe.com/api/idempotent_requests)
and would charge again."""


def _now() -> datetime:
    return datetime.now(UTC)


class StripeProcessor:
    """Takes payments at Stripe; implements `connectors.charges.Processor`. `close` it."""

    def __init__(
        self,
        settings: StripeSettings,
        *,
        client: StripeClient | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.client = client or StripeClient(settings)
        self._under_way_most = timedelta(seconds=settings.under_way_seconds)
        self._partial = settings.partial_authorization
        self._pages_most = settings.find_pages_most
        self._now = now

    @property
    def name(self) -> str:
        """As in `payments.psp`."""
        return STRIPE

    @property
    def terms(self) -> Terms:
        """How long keys are kept, and requests can be under way."""
        return Terms(keys_kept=KEYS_KEPT, under_way_most=self._under_way_most)

    async def charge(self, request: ChargeRequest) -> Charge:
        """Create and confirm an intent in one call, or open a page on which the buyer pays.

        The answer to a repeated key is the first one, although the charge may have moved on.

        Raises:
            ProcessorError: see `Processor`.
        """
        if request.hosted:
            page = requests.hosted(request, partial=self._partial)
            return await self._of_page(await self._post(SESSIONS, page, request.key))
        intent = requests.direct(request, partial=self._partial)
        try:
            return translate.charge(await self.client.post(INTENTS, intent, request.key))
        except Declined as declined:
            return declined.charge

    async def retrieve(self, reference: str) -> Charge:
        """Read an intent or a page; a page on which the buyer has paid gives its intent.

        Raises:
            ProcessorError: see `Processor`; `ProcessorRefused` if there is none.
        """
        if reference.startswith(SESSION_PREFIX):
            path = f"{SESSIONS}/{_checked(reference, SESSION_PREFIX)}"
            return await self._of_page(await self.client.get(path, {"expand": SESSION_WHOLE}))
        path = f"{INTENTS}/{_checked(reference)}"
        return await self._whole(await self.client.get(path, {"expand": CHARGE_WHOLE}))

    async def find(
        self,
        payment_id: UUID,
        since: datetime,
        reference: str | None = None,
        intent_seq: int | None = None,
        until: datetime | None = None,
    ) -> Lookup:
        """Look for the charges of a payment; `lookup` says where, in which order.

        Raises:
            ProcessorError: a source could not be read, so that nothing is proven.
        """
        search = lookup.Search(
            client=self.client,
            retrieve=self.retrieve,
            payment_id=payment_id,
            intent_seq=intent_seq,
            pages_most=self._pages_most,
        )
        return await search.find(since, until, self._now(), reference)

    async def capture(
        self, reference: str, *, currency: str, amount_minor: int, key: str, final: bool
    ) -> Charge:
        """Take this much more of an authorized charge.

        Raises:
            ProcessorError: see `Processor`. A capture that is not final is refused if the card
                allows only one.
        """
        params = requests.capture(currency, amount_minor, final=final)
        return await self._change(f"{INTENTS}/{_checked(reference)}/capture", params, key)

    async def cancel(self, reference: str, *, key: str) -> Charge:
        """Give back an authorization, or end a payment that waits for the buyer.

        What is over already is returned as it is. Stripe ends a payment on its page only by ending
        the page, also when its intent is known.

        Raises:
            ProcessorError: see `Processor`; `ProcessorRefused` if the money is taken or on its way.
        """
        if reference.startswith(SESSION_PREFIX):
            return await self._close_page(_checked(reference, SESSION_PREFIX), key)
        try:
            return await self._change(
                f"{INTENTS}/{_checked(reference)}/cancel", {"expand": CHARGE_WHOLE}, key
            )
        except ProcessorRefused as refused:
            charge = await self._over(reference)
            if charge is not None:
                return charge
            listed = await self.client.get(SESSIONS, {"payment_intent": reference, "limit": 1})
            if not objects.items(listed):
                raise refused from None
            page = objects.identifier(objects.items(listed)[0], "id")
            await self._close_page(page, f"{key}-page")
            return await self.retrieve(reference)

    async def refund(
        self, reference: str, *, currency: str, amount_minor: int, refund_id: str, key: str
    ) -> Charge:
        """Give back this much; the refund is among the charge's refunds, with our id.

        Raises:
            ProcessorError: see `Processor`; `ProcessorRefused` if less is left to refund.
        """
        params = requests.refund(_checked(reference), currency, amount_minor, refund_id)
        refund = await self._post("/v1/refunds", params, key)
        intent = objects.part(refund, "payment_intent")
        if intent is None:
            return translate.with_refunds(await self.retrieve(reference), [refund])
        return translate.with_refunds(await self._whole(intent), [refund])

    def events(
        self, since: datetime, until: datetime | None = None, *, undelivered_only: bool = False
    ) -> AsyncIterator[ProcessorEvent]:
        """List the events about charges since a time, newest first; Stripe keeps them 30 days."""
        return poll.events(self.client, since, until, undelivered_only=undelivered_only)

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _change(self, path: str, params: requests.Params, key: str) -> Charge:
        return await self._whole(await self._post(path, params, key))

    async def _post(self, path: str, params: requests.Params, key: str) -> Object:
        """Change a charge that is there: what the bank declines then leaves it as it is."""
        try:
            return await self.client.post(path, params, key)
        except Declined as declined:
            problem = "the bank declines it; the charge is as it was"
            raise ProcessorRefused(STRIPE, declined.code, problem) from None

    async def _close_page(self, reference: str, key: str) -> Charge:
        try:
            return await self._of_page(
                await self._post(f"{SESSIONS}/{reference}/expire", {"expand": SESSION_WHOLE}, key)
            )
        except ProcessorRefused:
            charge = await self._over(reference)
            if charge is None:
                raise
            return charge

    async def _over(self, reference: str) -> Charge | None:
        """Return the charge if it has ended without money, so that cancelling it is done."""
        charge = await self.retrieve(reference)
        over = (ChargeStatus.CANCELLED, ChargeStatus.EXPIRED)
        return charge if charge.status in over else None

    async def _of_page(self, page: Object) -> Charge:
        """Translate a page, or the intent that came of it."""
        if translate.session_status(page) is not None:
            return translate.session(page)
        intent = objects.part(page, "payment_intent")
        if intent is not None:
            return await self._whole(intent)
        reference = objects.id_of(page, "payment_intent")
        if reference is None:
            return translate.session(page)  # raises: complete without an intent
        return await self.retrieve(reference)

    async def _whole(self, intent: Object) -> Charge:
        """Translate an intent with all its refunds and disputes."""
        reference = objects.identifier(intent, "id")
        disputes: list[Object] = []
        if translate.is_disputed(intent):
            async for page in poll.pages(
                self.client.get, "/v1/disputes", {"payment_intent": reference}
            ):
                disputes += page
        charge = translate.charge(intent, disputes)
        if translate.is_taken_later(intent):
            # The time of this look is the nearest, and never before the money.
            charge = replace(charge, at=max(charge.at, self._now()))
        if translate.lacks_refunds(intent):
            async for page in poll.pages(
                self.client.get, "/v1/refunds", {"payment_intent": reference}
            ):
                charge = translate.with_refunds(charge, page)
        if translate.may_have_failed_on_page(intent):
            found = await self.client.get(SESSIONS, {"payment_intent": reference, "limit": 1})
            for page_of_it in objects.items(found):
                charge = translate.failed_on_page(charge, intent, page_of_it)
        return charge


def _checked(reference: str, prefix: str = INTENT_PREFIX) -> str:
    """Check a reference, which becomes part of an address.

    Raises:
        ProcessorRefused: it is not an id of that kind.
    """
    if (
        not (reference.startswith(prefix) and reference.isascii())
        or not reference.replace("_", "").isalnum()
    ):
        raise ProcessorRefused(
            STRIPE,
            "reference_malformed",
            "is no id of a charge at Stripe (pi_…); retrieve the payment first",
            field="psp_reference",
        )
    return reference

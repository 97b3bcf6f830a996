"""Stripe's books: balance transactions with what moved them, and whose payment that is.

Reading needs only a key that may read balance transactions, charges, refunds and disputes. Each
line comes with its source expanded (a charge, a refund, a dispute) and the source's intent, which
carries our payment's id. Amounts are compared in the currency that the buyer paid: where Stripe
books in another, the source's own amount is taken.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from connectors.books import RECEIVABLE_SIGN, BookKind, BookLine, Moved
from connectors.stripe import objects, poll
from connectors.stripe.amounts import STRIPE, our_amount
from connectors.stripe.client import StripeClient
from connectors.stripe.failures import unreadable
from connectors.stripe.objects import Object
from connectors.stripe.requests import PAYMENT_ID, Params
from connectors.stripe.settings import StripeSettings
from connectors.stripe.translate import book_entry
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError

TRANSACTIONS = "/v1/balance_transactions"
EXPANDED = ["data.source.payment_intent"]
PAGE_ATTEMPTS = 5
"""A long reading must not end because one page failed; each attempt is a call with its own."""
PAGE_PAUSE_SECONDS = 1.0

FEE = "fee"
CATEGORIES: Mapping[str, BookKind] = MappingProxyType(
    {
        "charge": BookKind.CHARGES,
        "charge_failure": BookKind.CHARGES,
        "partial_capture_reversal": BookKind.CHARGES,
        "refund": BookKind.REFUNDS,
        "refund_failure": BookKind.REFUNDS,
        "dispute": BookKind.DISPUTES_TAKEN,
        "dispute_reversal": BookKind.DISPUTES_GIVEN_BACK,
    }
)
"""Reporting category -> kind (https://docs.stripe.com/reports/reporting-categories).

The others are about no payment of a buyer: payouts, fees, reserves, loans, …
"""
TYPES: Mapping[str, str] = MappingProxyType(
    {
        "charge": "charge",
        "payment": "charge",
        "payment_failure_refund": "charge_failure",
        "payment_reversal": "charge_failure",
        "refund": "refund",
        "payment_refund": "refund",
        "refund_failure": "refund_failure",
        "stripe_fee": FEE,
        "stripe_fx_fee": FEE,
        "tax_fee": FEE,
    }
)
"""Type -> reporting category, for lines without one."""
ON_ITS_WAY = frozenset({"pending", "requires_action"})
"""Statuses of charges and refunds that a bank has not decided."""
UNDONE = frozenset({"failed", "canceled"})


def line(source: Object) -> BookLine:
    """Translate a balance transaction whose source is expanded. Pure.

    Raises:
        OutcomeUnknown: a shape or an amount that this code does not know.
    """
    cause = objects.part(source, "source")
    category = _category(source, cause)
    kind = CATEGORIES.get(category)
    return BookLine(
        entry=book_entry(source),
        category=category,
        is_fee=category == FEE,
        moved=_moved(source, cause, kind) if kind is not None else None,
    )


def _category(source: Object, cause: Object | None) -> str:
    given = objects.optional_text(source, "reporting_category")
    if given is not None:
        return given
    kind = objects.text(source, "type")
    if kind == "adjustment" and cause is not None and cause.get("object") == "dispute":
        return "dispute" if objects.integer(source, "amount") < 0 else "dispute_reversal"
    return TYPES.get(kind, kind)


def _moved(source: Object, cause: Object | None, kind: BookKind) -> Moved:
    line_id = objects.identifier(source, "id")
    booked_in = objects.text(source, "currency").upper()
    booked = our_amount(booked_in, RECEIVABLE_SIGN[kind] * objects.integer(source, "amount"))
    if cause is None:
        # Nothing says whose it is, so it is listed as nobody's.
        reference = objects.id_of(source, "source") or line_id
        return Moved(
            counted_as=line_id,
            kind=kind,
            reference=reference,
            charge_reference=reference,
            payment_id=None,
            currency=booked_in,
            amount_minor=booked,
            is_final=True,
        )
    identity = objects.identifier(cause, "id")
    currency = objects.text(cause, "currency").upper()
    charge = _charge_of(cause)
    intent = objects.part(cause, "payment_intent")
    named = objects.payment_id(cause, PAYMENT_ID)
    if named is None and intent is not None:
        named = objects.payment_id(intent, PAYMENT_ID)
    is_converted = currency != booked_in
    return Moved(
        counted_as=f"{identity}:{kind}" if is_converted else line_id,
        kind=kind,
        reference=charge if kind is BookKind.CHARGES else identity,
        charge_reference=charge,
        payment_id=named,
        currency=currency,
        amount_minor=_total(cause, currency, kind) if is_converted else booked,
        is_final=cause.get("status") not in ON_ITS_WAY or cause.get("object") == "dispute",
    )


def _charge_of(cause: Object) -> str:
    """Return what `payments` calls the charge: its intent's id; without an intent, its own."""
    found = objects.id_of(cause, "payment_intent")
    if found is None and cause.get("object") != "charge":
        found = objects.id_of(cause, "charge")
    return found or objects.identifier(cause, "id")


def _total(cause: Object, currency: str, kind: BookKind) -> int:
    """What a charge, refund or dispute has moved of its kind so far, in its own currency."""
    is_charge = cause.get("object") == "charge"
    undone = cause.get("status") in UNDONE
    if undone and kind in (BookKind.CHARGES, BookKind.REFUNDS):
        return 0
    taken = is_charge and cause.get("amount_captured") is not None
    return our_amount(currency, objects.integer(cause, "amount_captured" if taken else "amount"))


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

    async def _pages(self, params: Params) -> AsyncIterator[Sequence[Object]]:
        asked: Params = {"limit": poll.PAGE, **params}
        while True:
            answer = await self._get(TRANSACTIONS, asked)
            page = objects.items(answer)
            yield page
            if not page or not objects.has_more(answer):
                return
            last = objects.identifier(page[-1], "id")
            if asked.get("starting_after") == last:
                raise unreadable("a list that does not end")
            asked["starting_after"] = last

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

"""`POST /webhooks/stripe`: proof that Stripe sent it, then the inbox, then the acknowledgement.

The work is done later, from the inbox: Stripe waits a few seconds only, and sends again what was
not acknowledged. So 2xx means that the body is stored durably, or says nothing about a charge.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from connectors.charges import EventKind, ProcessorEvent
from connectors.stripe import webhook
from connectors.stripe.amounts import STRIPE
from schemas.errors import InputError
from service.facts import SCOPE
from service.problems import Problem


class Inbox(Protocol):
    """Where webhooks wait for their work; see `payins.inbox`."""

    async def put(self, event: ProcessorEvent, body: bytes) -> None:
        """Return when it is durable. Raises ServiceUnavailable."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StripeWebhooks:
    """Accepts Stripe's events."""

    def __init__(
        self,
        inbox: Inbox,
        secrets: Sequence[str],
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._inbox = inbox
        self._secrets = secrets
        self._clock = clock

    async def accept(self, body: bytes, signature: str) -> None:
        """Store an event that Stripe signed.

        What Stripe signed and this code cannot read is stored too: the worker makes a dead letter
        of it, which says what is wrong. Stripe would send it again for three days and then give up.

        Raises:
            Problem: not signed with one of our secrets.
            ServiceUnavailable: it cannot be stored now; Stripe sends it again.
        """
        now = self._clock()
        try:
            webhook.verify(body, signature, self._secrets, now)
        except InputError as error:
            raise Problem("signature_invalid", str(error)) from None
        try:
            event = webhook.read(body, whole=False)
        except InputError:
            event = _unreadable(body, now)
        if event.kind is EventKind.IGNORED:
            return  # it says nothing about a charge; the endpoint need not subscribe to it
        await self._inbox.put(event, body)


def _unreadable(body: bytes, now: datetime) -> ProcessorEvent:
    """An event of which nothing is known but its bytes."""
    return ProcessorEvent(
        psp=STRIPE,
        event_id=f"unreadable-{sha256(body).hexdigest()[:32]}",
        event_type="unreadable",
        kind=EventKind.UNKNOWN,
        at=now,
        object_id="",
        reference=None,
        payment_id=None,
    )


async def stripe_webhook(request: Request) -> Response:
    """Take an event from Stripe."""
    request.scope[SCOPE].route = "stripe_webhook"
    webhooks: StripeWebhooks = request.app.state.parts.webhooks
    await webhooks.accept(await request.body(), request.headers.get("stripe-signature", ""))
    return Response(b"{}", 200, media_type="application/json")

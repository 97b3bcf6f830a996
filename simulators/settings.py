"""Settings of the simulators: one frozen object, read from the environment."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from schemas.settings import CHECKOUT, Folder, Secret, Settings, Text

LATENCY_SECONDS_MOST = 60.0

WEBHOOK_EVENTS = (
    "payment_intent.succeeded,payment_intent.payment_failed,payment_intent.requires_action,"
    "payment_intent.processing,payment_intent.amount_capturable_updated,payment_intent.canceled,"
    "charge.refunded,refund.created,refund.updated,refund.failed,charge.dispute.created,"
    "charge.dispute.updated,charge.dispute.closed,charge.dispute.funds_withdrawn,"
    "charge.dispute.funds_reinstated,checkout.session.completed,checkout.session.expired,"
    "checkout.session.async_payment_succeeded,checkout.session.async_payment_failed,"
    "payout.created,payout.paid,payout.failed"
)
"""One event for an ordinary payment. The others would say the same again: charge.succeeded, …"""


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("is not http://host:port")
    if parts.port is None:  # raises ValueError if it is no number
        raise ValueError("has no port")
    return value.rstrip("/")


def _http_url(value: str) -> str:
    if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
        raise ValueError("is not an http:// or https:// address")
    return value


class SimulatorSettings(Settings):
    """Where the simulators listen and keep their books, and whom they tell about events."""

    home: Folder = CHECKOUT / ".purser"
    simulator_url: Annotated[str, AfterValidator(_base_url)]
    """Base of every address; its port is the one that the program listens on."""
    simulator_listen_host: Text = "127.0.0.1"
    simulator_latency_seconds: float = Field(
        default=0.0, ge=0, le=LATENCY_SECONDS_MOST, allow_inf_nan=False
    )
    """Each API call takes at least this long, as a company far away would."""
    simulator_webhook_url: Annotated[str, AfterValidator(_http_url)] | None = None
    """Address that is told of events from the start; needs `stripe_webhook_secret`."""
    simulator_webhook_events: Text = WEBHOOK_EVENTS
    """Types of events for that address, comma separated; `*` is all."""
    stripe_api_key: Secret | None = None
    """The only key that is accepted; without it, any that begins with `sk_test_`."""
    stripe_webhook_secret: Secret | None = None
    """Secrets that sign the events for `simulator_webhook_url`, comma separated."""

    @property
    def port(self) -> int:
        """The port to listen on."""
        port = urlsplit(self.simulator_url).port
        assert port is not None, self.simulator_url
        return port

    @property
    def folder(self) -> Path:
        """The folder of the simulators' books."""
        return self.home / "simulator"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that sign events for `simulator_webhook_url`; the newest first."""
        given = self.stripe_webhook_secret or SecretStr("")
        return tuple(each.strip() for each in given.get_secret_value().split(",") if each.strip())

    @property
    def webhook_events(self) -> tuple[str, ...]:
        """The types of events for `simulator_webhook_url`."""
        return tuple(each.strip() for each in self.simulator_webhook_events.split(","))

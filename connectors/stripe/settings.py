"""Settings of the Stripe connector: where Stripe is, the secrets, and how long to wait.

Two settings are all that it takes to use Stripe: the address has Stripe's as its default, so the
key and the webhook's secret remain.
"""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from schemas.settings import Count, Seconds, Settings

LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
STRIPE_HOST = "api.stripe.com"
SECRETS_MOST = 8
"""While one rotates there are two; more than a few would only cost time per webhook."""
KEY_PREFIXES = ("sk_", "rk_")
SECRET_PREFIX = "whsec_"
UNDER_WAY_LEAST = 80.0
"""Stripe states no limit; its own clients give up after so many seconds."""
_PRINTABLE = re.compile(r"[!-~]{1,255}")


def _api_base(value: str) -> str:
    """Accept the address of an API without a path."""
    address = urlsplit(value)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("is no URL; write it as https://api.stripe.com")
    if address.username or address.password or address.query or address.fragment:
        raise ValueError("must have no user, query or fragment")
    if address.path not in ("", "/"):
        raise ValueError("must have no path; /v1 is added to it")
    return value.rstrip("/")


def _api_key(value: SecretStr) -> SecretStr:
    """Accept secret and restricted keys; a publishable one (pk_) cannot charge."""
    key = value.get_secret_value()
    if not _PRINTABLE.fullmatch(key) or not key.startswith(KEY_PREFIXES):
        raise ValueError("is no secret key of Stripe; it begins with sk_ or, restricted, rk_")
    return value


def _secrets(value: SecretStr) -> SecretStr:
    """Accept 1 to 8 signing secrets of Stripe, separated by commas."""
    secrets = value.get_secret_value().split(",")
    if len(secrets) > SECRETS_MOST:
        raise ValueError(f"names {len(secrets)} secrets; at most {SECRETS_MOST} are allowed")
    for number, secret in enumerate(secrets, start=1):
        if not _PRINTABLE.fullmatch(secret.strip()):
            raise ValueError(f"secret number {number} is empty or has a space; copy it again")
        if not secret.strip().startswith(SECRET_PREFIX):
            raise ValueError(
                f"secret number {number} is no signing secret of Stripe; it begins with"
                f" {SECRET_PREFIX}"
            )
    return value


Attempts = Annotated[int, Field(gt=0, le=10)]


class StripeSettings(Settings):
    """How to reach Stripe. Each secret is masked wherever the settings are printed."""

    model_config = SettingsConfigDict(env_prefix="PURSER_STRIPE_")

    api_base: Annotated[str, AfterValidator(_api_base)] = "https://api.stripe.com"
    api_key: Annotated[SecretStr, AfterValidator(_api_key)]
    webhook_secret: Annotated[SecretStr, AfterValidator(_secrets)]
    """The endpoint's signing secrets, several separated by commas while one rotates."""
    connections: Annotated[int, Field(gt=0, le=1000)] = 50
    """Most connections at once; further calls wait for one, as part of `connect_seconds`."""
    connect_seconds: Seconds = 5.0
    """For a connection to be free or made. Nothing was sent when it is over."""
    answer_seconds: Seconds = 30.0
    """For one attempt as a whole. Banks can take 20 s to answer an authorization."""
    call_seconds: Seconds = 60.0
    """For all attempts of one call together, with the pauses between them."""
    attempts: Attempts = 3
    under_way_seconds: Seconds = 300.0
    """A request that we gave up on takes effect within this time, or never."""
    find_pages_most: Count = 100
    """Most pages of 100 that a search for one payment reads from each list."""
    partial_authorization: bool = False
    """Ask for partial authorizations, at the simulator: Stripe's API of the pinned version does not
    know the parameter."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """Refuse limits that contradict each other, and a live key on an open line."""
        address = urlsplit(self.api_base)
        if self.sends_key_in_clear_text and "_test_" not in self.api_key.get_secret_value():
            raise ValueError(
                "PURSER_STRIPE_API_BASE is http, which would send the live key of "
                "PURSER_STRIPE_API_KEY without encryption: use https"
            )
        if not self.connect_seconds <= self.answer_seconds <= self.call_seconds:
            raise ValueError(
                "PURSER_STRIPE_CONNECT_SECONDS, PURSER_STRIPE_ANSWER_SECONDS and "
                "PURSER_STRIPE_CALL_SECONDS must not decrease in this order"
            )
        if self.under_way_seconds < UNDER_WAY_LEAST and address.hostname not in LOCAL_HOSTS:
            raise ValueError(
                f"PURSER_STRIPE_UNDER_WAY_SECONDS must be at least {UNDER_WAY_LEAST:g} at Stripe: a"
                " charge that is still under way would be made twice"
            )
        if self.partial_authorization and address.hostname == STRIPE_HOST:
            raise ValueError(
                "PURSER_STRIPE_PARTIAL_AUTHORIZATION must be false at Stripe: its API has the"
                " parameter in previews only, and would refuse every card"
            )
        return self

    @property
    def sends_key_in_clear_text(self) -> bool:
        """Whether calls leave this machine without encryption."""
        address = urlsplit(self.api_base)
        return address.scheme == "http" and address.hostname not in LOCAL_HOSTS

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every secret with which a webhook may be signed."""
        return tuple(part.strip() for part in self.webhook_secret.get_secret_value().split(","))

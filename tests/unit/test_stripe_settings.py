"""How Stripe is reached: what is taken, what is refused, what is never shown."""

from typing import Any

import pytest

from connectors.stripe.settings import StripeSettings
from schemas.errors import ConfigurationError

LIVE = "sk_live_mRzP5Qx"
GOOD = {"api_key": LIVE, "webhook_secret": "whsec_Aq9"}


def load(**changed: Any) -> StripeSettings:
    return StripeSettings.load(**(GOOD | changed))


def test_the_key_and_the_secret_are_all_that_stripe_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_STRIPE_API_KEY", LIVE)
    monkeypatch.setenv("PURSER_STRIPE_WEBHOOK_SECRET", "whsec_1, whsec_2")
    settings = StripeSettings.load()
    assert settings.api_base == "https://api.stripe.com"
    assert settings.webhook_secrets == ("whsec_1", "whsec_2")


def test_no_secret_is_ever_shown() -> None:
    shown = f"{load()!r} {load()} {load().model_dump()}"
    assert LIVE not in shown
    assert "whsec_Aq9" not in shown


@pytest.mark.parametrize("key", ["sk_test_1", "rk_live_1", "rk_test_1", LIVE])
def test_a_secret_or_restricted_key_is_taken(key: str) -> None:
    assert load(api_key=key).api_key.get_secret_value() == key


@pytest.mark.parametrize(
    "base", ["https://api.stripe.com/", "http://127.0.0.1:8500", "http://[::1]:1"]
)
def test_an_address_is_taken_without_its_last_slash(base: str) -> None:
    assert load(api_base=base).api_base == base.rstrip("/")


def test_a_simulator_may_take_less_time_than_stripe() -> None:
    base = "http://127.0.0.1:1"
    assert load(api_key="sk_test_1", api_base=base, under_way_seconds=5).under_way_seconds == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"api_key": "pk_live_1"}, "PURSER_STRIPE_API_KEY: is no secret key"),
        ({"api_key": ""}, "PURSER_STRIPE_API_KEY: is no secret key"),
        ({"api_key": "sk_live_1\n"}, "PURSER_STRIPE_API_KEY: is no secret key"),
        ({"webhook_secret": ""}, "PURSER_STRIPE_WEBHOOK_SECRET: secret number 1 is empty"),
        ({"webhook_secret": "whsec_1,"}, "PURSER_STRIPE_WEBHOOK_SECRET: secret number 2 is empty"),
        ({"webhook_secret": "bogus"}, "secret number 1 is no signing secret of Stripe; it begins"),
        ({"webhook_secret": "whsec_1, sk_1"}, "secret number 2 is no signing secret of Stripe"),
        ({"webhook_secret": ",".join("abcdefghi")}, "names 9 secrets; at most 8"),
        ({"api_base": "api.stripe.com"}, "PURSER_STRIPE_API_BASE: is no URL"),
        ({"api_base": "https://"}, "PURSER_STRIPE_API_BASE: is no URL"),
        ({"api_base": "https://api.stripe.com/v1"}, "PURSER_STRIPE_API_BASE: must have no path"),
        ({"api_base": "https://u:p@h"}, "PURSER_STRIPE_API_BASE: must have no user"),
        ({"api_base": "http://api.stripe.com"}, "without encryption: use https"),
        ({"under_way_seconds": 79}, "PURSER_STRIPE_UNDER_WAY_SECONDS must be at least 80"),
        ({"attempts": 0}, "PURSER_STRIPE_ATTEMPTS"),
        ({"attempts": 11}, "PURSER_STRIPE_ATTEMPTS"),
        ({"connections": 0}, "PURSER_STRIPE_CONNECTIONS"),
        ({"connect_seconds": 0}, "PURSER_STRIPE_CONNECT_SECONDS"),
        ({"answer_seconds": float("inf")}, "PURSER_STRIPE_ANSWER_SECONDS"),
        ({"call_seconds": 1, "answer_seconds": 30}, "must not decrease in this order"),
        ({"partial_authorization": True}, "PURSER_STRIPE_PARTIAL_AUTHORIZATION must be false"),
        ({"find_pages_most": -1}, "PURSER_STRIPE_FIND_PAGES_MOST"),
    ],
)
def test_a_bad_value_refuses_to_start_and_names_the_variable(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(**changed)
    assert "sk_live" not in str(caught.value)


def test_a_test_key_may_go_to_a_container_without_encryption() -> None:
    assert load(api_key="sk_test_1", api_base="http://simulator:8500").api_base


def test_partial_authorizations_can_be_tried_where_the_simulator_is() -> None:
    base = "http://simulator:8500"
    assert load(api_key="sk_test_1", api_base=base, partial_authorization=True)


@pytest.mark.parametrize("missing", ["api_key", "webhook_secret"])
def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(f"PURSER_STRIPE_{missing.upper()}", raising=False)
    given = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(ConfigurationError, match=f"PURSER_STRIPE_{missing.upper()}: Field req"):
        StripeSettings.load(**given)

"""What the documentation says of Stripe is what the code does."""

import re

import pytest

from connectors.stripe import declines, translate, webhook
from connectors.stripe.declines import Decline
from connectors.stripe.failures import NOT_CONNECTED
from connectors.stripe.settings import StripeSettings
from tests.architecture.tree import ROOT

HOW_TO = (ROOT / "docs/how-to/use-stripe.md").read_text()
REFERENCE = (ROOT / "docs/reference/processors.md").read_text()
SIMULATORS = (ROOT / "docs/reference/simulators.md").read_text()


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_the_events_to_subscribe_to_are_those_that_are_polled() -> None:
    block = HOW_TO.partition("Subscribe to these events:")[2].partition("Other events")[0]
    assert block.split() == sorted(block.split(), key=webhook.POLLED.index)
    assert set(block.split()) == set(webhook.POLLED)


def test_the_version_of_the_endpoint_is_the_one_that_is_read() -> None:
    assert f"`{translate.API_VERSION}`" in HOW_TO
    assert f"`{translate.API_VERSION}`" in SIMULATORS


def test_every_setting_is_documented_with_its_default() -> None:
    for name, field in StripeSettings.model_fields.items():
        variable = f"PURSER_STRIPE_{name.upper()}"
        assert variable in HOW_TO
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"| `{variable}` | {field.default:g} |" in HOW_TO


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Soft", {code for code, kind in declines.DECLINES.items() if kind is Decline.SOFT}),
        ("Confidential", set(declines.CONFIDENTIAL)),
    ],
)
def test_the_declines_are_those_of_the_table(heading: str, codes: set[str]) -> None:
    listed = REFERENCE.partition(f"- **{heading}**")[2].partition("\n- **")[0]
    assert quoted(listed) == codes


@pytest.mark.parametrize("status", [*translate.INTENT_STATUSES, *NOT_CONNECTED])
def test_every_status_and_code_is_in_the_reference(status: str) -> None:
    assert f"`{status}`" in REFERENCE


def test_every_status_of_a_dispute_is_in_the_reference() -> None:
    named = {status for status in translate.DISPUTE_STATUSES if not status.startswith("warning_")}
    assert named <= quoted(REFERENCE)

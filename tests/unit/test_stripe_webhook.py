"""A webhook: who sent it, and what it is about."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
import stripe

from connectors.charges import ChargeStatus, EventKind
from connectors.stripe import webhook
from schemas.errors import InputError
from tests.stripe_objects import (
    AT,
    PAYMENT,
    Json,
    charge,
    dispute,
    event,
    intent,
    page,
    refund,
)

NOW = datetime.fromtimestamp(AT + 6, UTC)
BODY = json.dumps(event("payment_intent.succeeded", intent())).encode()
OLD, NEW = "whsec_old", "whsec_new"


def sign(body: bytes, secret: str, at: int = AT + 6) -> str:
    """Sign as Stripe does, by the SDK's own function."""
    made = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode()}", secret)
    return f"t={at},v1={made}"


@pytest.mark.parametrize(
    ("header", "secrets"),
    [
        (sign(BODY, NEW), (NEW,)),
        (sign(BODY, NEW), (OLD, NEW)),
        (sign(BODY, OLD), (OLD, NEW)),
        # While a secret rotates Stripe signs with both.
        (sign(BODY, OLD) + "," + sign(BODY, NEW).partition(",")[2], (NEW,)),
        (sign(BODY, NEW) + ",v0=00ff", (NEW,)),
        (sign(BODY, NEW).replace(",", ", "), (NEW,)),
        (sign(BODY, NEW, AT + 6 - 300), (NEW,)),
        (sign(BODY, NEW, AT + 6 + 300), (NEW,)),
    ],
)
def test_what_stripe_signed_is_taken(header: str, secrets: tuple[str, ...]) -> None:
    webhook.verify(BODY, header, secrets, NOW)


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        (BODY, sign(BODY, "whsec_other"), "no signature fits"),
        (BODY + b" ", sign(BODY, NEW), "no signature fits"),
        (BODY, sign(BODY, NEW).replace("v1=", "v0="), "not 1 to 16 signatures"),
        (BODY, "", "not one time"),
        (BODY, "t=,v1=00", "not one time"),
        (BODY, "t=-5,v1=00", "not one time"),
        (BODY, "t=1,t=2,v1=00", "not one time"),
        (BODY, f"t={'9' * 30},v1=00", "no time in seconds"),
        (BODY, "t=\u0661,v1=00", "not one time"),
        (BODY, f"t={AT}" + ",v1=00" * 17, "not 1 to 16 signatures"),
        (BODY, f"t={AT},v1=\udcff", "no signature fits"),
        (BODY, sign(BODY, NEW, AT + 6 - 301), "more than 300 s before or after"),
        (BODY, sign(BODY, NEW, AT + 6 + 301), "more than 300 s before or after"),
        (b"x" * (256 * 1024 + 1), "t=1,v1=00", "more than 262144 bytes"),
    ],
)
def test_what_stripe_did_not_sign_is_refused(body: bytes, header: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        webhook.verify(body, header, (NEW,), NOW)
    assert "pi_3PqA" not in str(caught.value)


def test_the_sdk_takes_what_we_take() -> None:
    """Where both judge, they agree: a changed scheme would show here."""
    at = int(datetime.now(UTC).timestamp())
    header = sign(BODY, NEW, at)
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, NEW, 300)
    webhook.verify(BODY, header, (NEW,), datetime.now(UTC))


INTENT = ("pi_3PqA", UUID(PAYMENT))


@pytest.mark.parametrize(
    ("event_type", "about", "reference", "status"),
    [
        ("payment_intent.succeeded", intent(), "pi_3PqA", ChargeStatus.CAPTURED),
        ("payment_intent.canceled", intent("canceled"), "pi_3PqA", ChargeStatus.CANCELLED),
        ("payment_intent.processing", intent("processing"), "pi_3PqA", ChargeStatus.PROCESSING),
        (
            "payment_intent.amount_capturable_updated",
            intent("requires_capture"),
            "pi_3PqA",
            ChargeStatus.AUTHORIZED,
        ),
        ("checkout.session.expired", page("expired"), "cs_test_a1", ChargeStatus.EXPIRED),
        ("checkout.session.completed", page("complete", payment_intent="pi_9"), "pi_9", None),
        ("checkout.session.async_payment_failed", page("complete"), "cs_test_a1", None),
        ("charge.refunded", charge(), "pi_3PqA", None),
        ("refund.created", refund(), "pi_3PqA", None),
        ("charge.dispute.created", dispute(), "pi_3PqA", None),
        # A charge that cannot be read is left out; retrieving it says why.
        ("payment_intent.succeeded", intent("requires_review"), "pi_3PqA", None),
    ],
)
def test_an_event_about_a_charge(
    event_type: str, about: Json, reference: str, status: ChargeStatus | None
) -> None:
    body = json.dumps(event(event_type, about)).encode()
    found = webhook.read(body)
    assert webhook.read(body, whole=False) == replace(found, charge=None)
    assert (found.kind, found.reference) == (EventKind.CHARGE, reference)
    assert (found.charge.status if found.charge else None) is status
    assert (found.event_id, found.object_id) == ("evt_1", about["id"])
    assert found.at.timestamp() == AT + 5


@pytest.mark.parametrize(
    "other",
    [{"mode": "setup"}, {"mode": "subscription"}, {"payment_status": "no_payment_required"}],
)
def test_a_page_that_takes_no_payment_is_ignored(other: Json) -> None:
    about = page("complete") | other | {"payment_intent": None, "currency": None}
    assert webhook.event(event("checkout.session.completed", about)).kind is EventKind.IGNORED


def test_an_event_names_our_payment_where_the_object_does() -> None:
    assert webhook.event(event("refund.created", refund())).payment_id is None
    assert webhook.event(event("charge.refunded", charge())).payment_id == UUID(PAYMENT)
    assert webhook.event(event("payment_intent.succeeded", intent())).payment_id == UUID(PAYMENT)


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("payout.paid", EventKind.IGNORED),
        ("charge.succeeded", EventKind.IGNORED),
        ("payment_intent.created", EventKind.IGNORED),
        ("payment_intent.amount_reduced", EventKind.UNKNOWN),
        ("customer.created", EventKind.UNKNOWN),
    ],
)
def test_other_events_are_ignored_or_said_to_be_unknown(event_type: str, kind: EventKind) -> None:
    found = webhook.event(event(event_type, {"id": "x_1", "object": "x"}))
    assert (found.kind, found.reference, found.charge) == (kind, None, None)


def test_an_object_without_an_id_is_about_nothing_of_ours() -> None:
    assert webhook.event(event("balance.available", {"object": "balance"})).object_id == ""


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'"\xff"',
        b'{"id": "\xff"}', b"[" * 100_000, b"9" * 5000, b"{}",
        json.dumps(event("payment_intent.succeeded", intent(), id=None)).encode(),
        json.dumps(event("payment_intent.succeeded", intent(), created="now")).encode(),
        json.dumps(event("payment_intent.succeeded", intent(), data=None)).encode(),
        json.dumps(event("payment_intent.succeeded", intent(), data={"object": 3})).encode(),
        json.dumps(event("", intent())).encode(),
        json.dumps(event("payment_intent.succeeded", intent(id="a b"))).encode(),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        webhook.read(body)


def test_what_is_polled_is_about_charges_and_fits_into_one_call() -> None:
    assert set(webhook.POLLED) <= set(webhook.SUBJECTS)
    assert len(webhook.POLLED) <= 20
    assert not set(webhook.SUBJECTS) & webhook.IGNORED

"""What became of a charge, at a simulator that loses answers, forgets keys and searches late."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from connectors.charges import Charge, ChargeRequest, ChargeStatus, EventKind, Lookup
from connectors.stripe import poll, webhook
from connectors.stripe.processor import StripeProcessor
from schemas.errors import NotSent, OutcomeUnknown
from tests.stripe_simulator import Receiver, Simulator

PATIENT = {"connect_seconds": 10.0, "answer_seconds": 10.0, "call_seconds": 60.0}


def look(simulator: Simulator, asked: ChargeRequest, **changed: Any) -> Lookup:
    return simulator.use(lambda stripe: stripe.find(asked.payment_id, asked.created_at, **changed))


def charge(simulator: Simulator, asked: ChargeRequest, **changed: Any) -> Charge:
    return simulator.use(lambda stripe: stripe.charge(asked), **changed)


def test_a_repeated_key_charges_once(simulator: Simulator) -> None:
    asked = simulator.charge()
    first, second = charge(simulator, asked), charge(simulator, asked)
    assert first == second
    assert len(look(simulator, asked).charges) == 1


def test_a_key_of_another_request_is_no_proof_of_anything(simulator: Simulator) -> None:
    asked = simulator.charge()
    charge(simulator, asked)
    other = simulator.charge(key=asked.key, amount_minor=2600)
    with pytest.raises(OutcomeUnknown) as caught:
        charge(simulator, other)
    assert caught.value.code == "idempotency_error"


def test_a_forgotten_key_charges_again_which_is_why_one_looks_first(simulator: Simulator) -> None:
    asked = simulator.charge()
    first = charge(simulator, asked)
    simulator.advance(hours=25)
    terms = simulator.use(_terms)
    assert not terms.may_repeat(asked.created_at, simulator.now())
    again = charge(simulator, asked)
    assert again.reference != first.reference
    found = {each.reference for each in look(simulator, asked).charges}
    assert found == {first.reference, again.reference}


async def _terms(stripe: StripeProcessor) -> Any:
    return stripe.terms


@pytest.mark.parametrize("hosted", [False, True])
def test_a_charge_is_found_by_its_reference_by_search_and_by_the_lists(
    simulator: Simulator, hosted: bool
) -> None:
    asked = simulator.charge(hosted=hosted, payment_token=None if hosted else "pm_card_visa")
    made = charge(simulator, asked)
    by_reference = look(simulator, asked, reference=made.reference)
    assert by_reference.charges == (made,)
    assert by_reference.sources == ("reference",)
    # Nobody has paid on the page, so it has no intent that could be searched for.
    expected = ("search", "list") if hosted else ("search",)
    assert look(simulator, asked).sources == expected
    with simulator.faults(search_delay_seconds=3600):
        late = look(simulator, asked)
    assert late.charges == (made,)
    assert late.sources == ("search", "list")


def test_absence_is_proven_when_nothing_can_be_under_way(simulator: Simulator) -> None:
    asked = simulator.charge()
    charge(simulator, simulator.charge())
    found = look(simulator, asked)
    terms = simulator.use(_terms)
    assert found.complete
    assert not found.proves_absence(terms, asked.created_at)
    simulator.advance(seconds=301)
    assert look(simulator, asked).proves_absence(terms, asked.created_at)


FAULTS = {
    "timeout_after_commit": 0.15,
    "http_500": 0.1,
    "http_500_after_commit": 0.15,
    "http_429": 0.1,
    "http_409": 0.1,
    "hang_seconds": 0.0,
}


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_fails_no_payment_is_charged_twice_and_none_is_lost(
    simulator: Simulator, seed: int, attempts: int
) -> None:
    """Answers are lost, calls fail before and after their effect: the look-up tells the truth."""
    everything = [simulator.charge() for _ in range(40)]

    async def all_of(stripe: StripeProcessor) -> Sequence[Charge | BaseException]:
        made = (stripe.charge(asked) for asked in everything)
        return await asyncio.gather(*made, return_exceptions=True)

    with simulator.faults(seed, **FAULTS):
        answers = simulator.use(all_of, attempts=attempts, **PATIENT)

    async def judge(stripe: StripeProcessor) -> None:
        for asked, answer in zip(everything, answers, strict=True):
            await _judge(stripe, asked, answer)

    simulator.use(judge)
    outcomes = Counter(type(answer).__name__ for answer in answers)
    assert outcomes["Charge"] > 0
    assert outcomes["OutcomeUnknown"] > 0
    assert simulator.books()["differences"] == []


async def _judge(
    stripe: StripeProcessor, asked: ChargeRequest, answer: Charge | BaseException
) -> None:
    """Compare what a call gave with what there is, and bring it to its end."""
    found = await stripe.find(asked.payment_id, asked.created_at)
    if isinstance(answer, Charge):
        assert found.charges == (answer,)
        return
    if isinstance(answer, NotSent):
        assert found.complete
        assert found.charges == ()
    else:
        assert isinstance(answer, OutcomeUnknown)
        assert len(found.charges) <= 1
    # Repeated under its key it ends as one charge, whatever had become of it.
    try:
        await stripe.charge(asked)
    except OutcomeUnknown as error:
        assert error.code == "http_500"  # kept for the key, as Stripe does
    (end,) = (await stripe.find(asked.payment_id, asked.created_at)).charges
    assert end.status is ChargeStatus.CAPTURED


def test_events_tell_what_happened_in_an_outage(simulator: Simulator) -> None:
    since = simulator.now() + timedelta(seconds=1)
    simulator.advance(seconds=2)
    paid = charge(simulator, simulator.charge())
    declined = charge(simulator, simulator.charge(payment_token="pm_card_chargeDeclined"))
    held = charge(simulator, simulator.charge(capture_manually=True))

    async def read(stripe: StripeProcessor) -> list[Any]:
        return [event async for event in stripe.events(since)]

    events = {event.reference: event for event in simulator.use(read)}
    assert {event.kind for event in events.values()} == {EventKind.CHARGE}
    for made in (paid, declined, held):
        inside = events[made.reference].charge
        assert inside is not None
        assert (inside.payment_id, inside.status, inside.captured_minor, inside.failure) == (
            made.payment_id,
            made.status,
            made.captured_minor,
            made.failure,
        )


def test_a_webhook_is_signed_and_says_what_a_look_says(simulator: Simulator) -> None:
    asked = simulator.charge()

    async def paid(stripe: StripeProcessor) -> tuple[Charge, bytes, str, str]:
        async with Receiver() as receiver:
            endpoint = await stripe.client.post(
                "/v1/webhook_endpoints",
                {"url": receiver.url, "enabled_events": ["payment_intent.succeeded"]},
                f"endpoint-{asked.key}",
            )
            made = await stripe.charge(asked)
            async with asyncio.timeout(20):
                body, signature = await receiver.deliveries.get()
            return made, body, signature, str(endpoint["secret"])

    made, body, signature, secret = simulator.use(paid)
    stamp = int(signature.split(",")[0].removeprefix("t="))
    at = simulator.now().fromtimestamp(stamp, simulator.now().tzinfo)
    webhook.verify(body, signature, ("whsec_other", secret), at)
    event = webhook.read(body)
    assert (event.kind, event.event_type) == (EventKind.CHARGE, "payment_intent.succeeded")
    assert (event.reference, event.payment_id) == (made.reference, asked.payment_id)
    assert event.charge == made


def test_the_books_hold_every_captured_charge_once(simulator: Simulator) -> None:
    since = simulator.now() + timedelta(seconds=1)
    simulator.advance(seconds=2)
    for currency in ("EUR", "JPY", "KWD"):
        charge(simulator, simulator.charge(currency=currency, amount_minor=5000))

    async def read(stripe: StripeProcessor) -> list[Any]:
        return [line async for line in poll.book_entries(stripe.client, since)]

    lines = simulator.use(read)
    assert sorted((line.currency, line.amount_minor) for line in lines) == [
        ("EUR", 5000),
        ("JPY", 5000),
        ("KWD", 5000),
    ]
    assert all(line.net_minor == line.amount_minor - line.fee_minor for line in lines)

"""Stripe as a processor: which calls an operation makes, and the charge that comes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from connectors.charges import (
    Charge,
    ChargeStatus,
    DisputeStatus,
    EventKind,
    Lookup,
    Processor,
    RefundStatus,
)
from connectors.stripe import poll
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from schemas.errors import NotSent, OutcomeUnknown, ProcessorRefused
from tests.stripe_charges import CREATED_AT, DIRECT, PAGE
from tests.stripe_objects import (
    PAYMENT,
    Json,
    balance_transaction,
    charge,
    declined,
    dispute,
    event,
    intent,
    listed,
    page,
    refund,
)
from tests.stripe_server import Asked, Behaviour, Server, answer, error

Use = Callable[[StripeProcessor], Awaitable[Any]]
NOW = CREATED_AT + timedelta(hours=1)
WHOLE = intent(latest_charge=charge())
NONE = answer(listed("/"))


def use(what: Use, *answers: Behaviour, **changed: Any) -> tuple[Any, list[Asked]]:
    """Return what an operation gave against a server with these answers, and what was asked."""

    async def main() -> tuple[Any, list[Asked]]:
        async with Server(*answers) as server:
            settings = StripeSettings.load(
                api_base=server.url,
                api_key="sk_test_1",
                webhook_secret="whsec_1",
                attempts=1,
                **changed,
            )
            async with StripeProcessor(settings, now=lambda: NOW) as processor:
                return await what(processor), server.asked

    return asyncio.run(main())


def called(asked: list[Asked]) -> list[str]:
    """The calls as `METHOD path`, without the version."""
    return [f"{each.method} {each.path.removeprefix('/v1')}" for each in asked]


def test_a_direct_charge_is_one_call() -> None:
    found, asked = use(lambda stripe: stripe.charge(DIRECT), answer(intent()))
    assert called(asked) == ["POST /payment_intents"]
    assert asked[0].headers["idempotency-key"] == DIRECT.key
    assert asked[0].params["metadata[purser_payment_id]"] == PAYMENT
    assert asked[0].params["confirm"] == "true"
    assert (found.status, found.captured_minor) == (ChargeStatus.CAPTURED, 2500)
    assert found.payment_id == DIRECT.payment_id


def test_a_declined_charge_is_one_call_too() -> None:
    found, asked = use(lambda stripe: stripe.charge(DIRECT), answer(declined(), 402))
    assert called(asked) == ["POST /payment_intents"]
    assert found.status is ChargeStatus.FAILED
    assert found.failure.code == "insufficient_funds"


def test_a_page_is_one_call() -> None:
    found, asked = use(lambda stripe: stripe.charge(PAGE), answer(page()))
    assert called(asked) == ["POST /checkout/sessions"]
    assert found.status is ChargeStatus.ACTION_REQUIRED
    assert found.action_url.startswith("https://checkout.stripe.com/")


def test_what_stripe_would_refuse_is_not_sent() -> None:
    with pytest.raises(ProcessorRefused):
        use(lambda stripe: stripe.charge(replace(DIRECT, amount_minor=49)), answer(intent()))


@pytest.mark.parametrize(
    ("what", "path"),
    [
        (
            lambda s: s.capture("pi_3PqA", currency="EUR", amount_minor=2500, key="k", final=True),
            "POST /payment_intents/pi_3PqA/capture",
        ),
        (lambda s: s.cancel("pi_3PqA", key="k"), "POST /payment_intents/pi_3PqA/cancel"),
        (lambda s: s.retrieve("pi_3PqA"), "GET /payment_intents/pi_3PqA"),
    ],
)
def test_every_other_operation_is_one_call(what: Use, path: str) -> None:
    found, asked = use(what, answer(WHOLE))
    assert called(asked) == [path]
    assert asked[0].params["expand[0]"] == "latest_charge.refunds"
    assert isinstance(found, Charge)


CARD = charge(created=int(CREATED_AT.timestamp()))
BANK = CARD | {"payment_method_details": {"type": "sepa_debit", "sepa_debit": {}}}
HELD: Json = {"capture_method": "manual", "latest_charge": CARD}


@pytest.mark.parametrize(
    ("read", "at"),
    [
        (intent(latest_charge=CARD), CREATED_AT),
        (intent("processing", latest_charge=BANK), CREATED_AT),
        (intent("requires_capture", **HELD), CREATED_AT),
        # Stripe does not tell when it was captured, or when the bank paid.
        (intent(latest_charge=BANK), NOW),
        (intent(**HELD), NOW),
        (intent("requires_capture", amount_received=500, **HELD), NOW),
    ],
)
def test_money_is_not_dated_before_it_was_taken(read: Json, at: datetime) -> None:
    found, _ = use(lambda s: s.retrieve("pi_3PqA"), answer(read))
    assert found.at == at


def test_a_refund_is_one_call_and_in_the_charge_that_comes_back() -> None:
    new = refund(
        2, "pending", payment_intent=intent(latest_charge=charge(refunds=listed("/", refund(1))))
    )
    found, asked = use(
        lambda s: s.refund(
            "pi_3PqA", currency="EUR", amount_minor=500, refund_id="refund-2", key="k"
        ),
        answer(new),
    )
    assert called(asked) == ["POST /refunds"]
    assert asked[0].params["metadata[purser_refund_id]"] == "refund-2"
    assert [(each.refund_id, each.status) for each in found.refunds] == [
        ("refund-1", RefundStatus.SUCCEEDED),
        ("refund-2", RefundStatus.PENDING),
    ]


def test_a_disputed_charge_is_one_call_more() -> None:
    disputed = answer(intent(latest_charge=charge(disputed=True)))
    found, asked = use(
        lambda s: s.retrieve("pi_3PqA"), disputed, answer(listed("/", dispute("lost")))
    )
    assert called(asked) == ["GET /payment_intents/pi_3PqA", "GET /disputes"]
    assert [each.status for each in found.disputes] == [DisputeStatus.LOST]


def test_more_refunds_than_the_expansion_holds_are_listed() -> None:
    many = listed("/", *(refund(number) for number in range(10, 20)), more=True)
    found, asked = use(
        lambda s: s.retrieve("pi_3PqA"),
        answer(intent(latest_charge=charge(refunds=many))),
        answer(listed("/", *(refund(number) for number in range(1, 20)))),
    )
    assert called(asked) == ["GET /payment_intents/pi_3PqA", "GET /refunds"]
    assert [each.refund_id for each in found.refunds] == [f"refund-{n}" for n in range(1, 20)]


def test_a_page_on_which_the_buyer_paid_gives_its_intent() -> None:
    paid = page("complete", payment_status="paid", payment_intent=WHOLE)
    found, asked = use(lambda s: s.retrieve("cs_test_a1"), answer(paid))
    assert called(asked) == ["GET /checkout/sessions/cs_test_a1"]
    assert (found.reference, found.status) == ("pi_3PqA", ChargeStatus.CAPTURED)


def test_a_page_that_is_complete_without_an_intent_is_no_guess() -> None:
    with pytest.raises(OutcomeUnknown):
        use(lambda s: s.retrieve("cs_test_a1"), answer(page("complete")))


def test_a_page_is_cancelled_by_ending_it() -> None:
    found, asked = use(lambda s: s.cancel("cs_test_a1", key="k"), answer(page("expired")))
    assert called(asked) == ["POST /checkout/sessions/cs_test_a1/expire"]
    assert found.status is ChargeStatus.EXPIRED


REFUSED = error(400, "payment_intent_unexpected_state")


def test_what_is_cancelled_already_is_returned() -> None:
    found, asked = use(lambda s: s.cancel("pi_3PqA", key="k"), REFUSED, answer(intent("canceled")))
    assert len(asked) == 2
    assert found.status is ChargeStatus.CANCELLED


def test_an_intent_of_a_page_is_cancelled_with_its_page() -> None:
    waiting = intent("requires_payment_method", metadata={"purser_flow": "hosted"})
    found, asked = use(
        lambda s: s.cancel("pi_3PqA", key="k"),
        REFUSED,
        answer(waiting),
        answer(listed("/", page(payment_intent="pi_3PqA"))),
        answer(page("expired", payment_intent="pi_3PqA")),
        answer(intent("canceled", cancellation_reason="automatic")),
    )
    assert called(asked) == [
        "POST /payment_intents/pi_3PqA/cancel",
        "GET /payment_intents/pi_3PqA",
        "GET /checkout/sessions",
        "POST /checkout/sessions/cs_test_a1/expire",
        "GET /payment_intents/pi_3PqA",
    ]
    assert found.status is ChargeStatus.EXPIRED


@pytest.mark.parametrize(
    ("beside", "status"),
    [
        (page("complete", payment_intent="pi_3PqA"), ChargeStatus.FAILED),
        (page(payment_intent="pi_3PqA"), ChargeStatus.ACTION_REQUIRED),
        (page("expired", payment_intent="pi_3PqA"), ChargeStatus.EXPIRED),
    ],
)
def test_after_a_failure_on_a_page_only_the_page_tells_whether_it_is_over(
    beside: Json, status: ChargeStatus
) -> None:
    """A bank debit fails days after the page is complete; a card can be followed by another."""
    failed = intent(
        "requires_payment_method",
        metadata={"purser_flow": "hosted"},
        last_payment_error={"code": "payment_intent_payment_attempt_failed"},
    )
    found, asked = use(lambda s: s.retrieve("pi_3PqA"), answer(failed), answer(listed("/", beside)))
    assert called(asked)[-1] == "GET /checkout/sessions"
    assert found.status is status
    assert (found.failure is not None) == (status is ChargeStatus.FAILED)


def test_money_that_is_taken_cannot_be_cancelled() -> None:
    with pytest.raises(ProcessorRefused) as caught:
        use(lambda s: s.cancel("pi_3PqA", key="k"), REFUSED, answer(WHOLE), NONE)
    assert caught.value.code == "payment_intent_unexpected_state"


def test_a_change_that_the_bank_declines_is_refused() -> None:
    with pytest.raises(ProcessorRefused) as caught:
        use(
            lambda s: s.capture("pi_3PqA", currency="EUR", amount_minor=1, key="k", final=True),
            answer(declined(decline_code="do_not_honor"), 402),
        )
    assert caught.value.code == "do_not_honor"


@pytest.mark.parametrize(
    "reference", ["", "ch_1", "pi_1/cancel", "pi_1?x", "pi_..", "cs_1/../x", "pi_é"]
)
def test_a_reference_is_no_way_to_another_address(reference: str) -> None:
    with pytest.raises(ProcessorRefused) as caught:
        use(lambda s: s.retrieve(reference), answer(WHOLE))
    assert caught.value.field == "psp_reference"


def look(
    *answers: Behaviour,
    reference: str | None = None,
    seq: int | None = None,
    until: datetime | None = None,
    **changed: Any,
) -> tuple[Lookup, list[Asked]]:
    return use(
        lambda s: s.find(DIRECT.payment_id, CREATED_AT, reference, seq, until), *answers, **changed
    )


OTHER: Json = {"metadata": {"purser_payment_id": str(UUID(int=7))}}
MISSING = error(404, "resource_missing")
LISTS = ["GET /payment_intents", "GET /checkout/sessions"]


def test_a_reference_that_is_known_is_the_best_evidence() -> None:
    found, asked = look(answer(WHOLE), reference="pi_3PqA")
    assert called(asked) == ["GET /payment_intents/pi_3PqA"]
    assert [each.reference for each in found.charges] == ["pi_3PqA"]
    assert found.evidence == "reference_found"


@pytest.mark.parametrize("first", [MISSING, answer(intent(**OTHER))])
def test_then_the_search_by_our_id(first: Behaviour) -> None:
    hits = listed("/", intent(), intent(id="pi_other", **OTHER))
    found, asked = look(first, answer(hits), answer(WHOLE), reference="pi_3PqA")
    assert called(asked)[1:] == ["GET /payment_intents/search", "GET /payment_intents/pi_3PqA"]
    assert asked[1].params["query"] == f"metadata['purser_payment_id']:'{PAYMENT}'"
    assert found.evidence == "reference_search_found"


def test_a_day_later_the_search_alone_proves_absence() -> None:
    """A busy account makes more charges in an hour than can be listed."""
    found, asked = look(NONE, until=NOW - timedelta(hours=24))
    assert called(asked) == ["GET /payment_intents/search"]
    assert found.complete
    assert found.evidence == "search_empty"


def test_until_then_the_lists_are_read_no_further_than_a_charge_can_be() -> None:
    until = CREATED_AT + timedelta(minutes=30)
    found, asked = look(NONE, *[answer(listed("/"))] * 4, until=until)
    assert found.complete
    ends = [int(each.params["created[lt]"]) for each in asked[1:]]
    assert max(ends) == int((until + timedelta(minutes=5)).timestamp())


def test_then_the_lists_since_its_creation() -> None:
    found, asked = look(
        NONE,
        answer(listed("/", intent(id="pi_other", **OTHER), more=True)),
        answer(listed("/", intent())),
        answer(WHOLE),
    )
    assert called(asked)[1:] == [
        "GET /payment_intents",
        "GET /payment_intents",
        "GET /payment_intents/pi_3PqA",
    ]
    assert asked[2].params["starting_after"] == "pi_other"
    assert int(asked[1].params["created[gte]"]) == CREATED_AT.timestamp() - 300
    assert found.evidence == "search_list_found"


def test_the_whole_of_the_lists_proves_absence() -> None:
    found, asked = look(NONE)
    assert called(asked)[1:] == LISTS * 2
    assert found.charges == ()
    assert found.complete
    assert found.looked_at == NOW
    assert found.evidence == "search_list_list_empty"
    first, second = asked[1].params, asked[3].params
    assert first["created[lt]"] == second["created[gte]"]
    assert int(second["created[lt]"]) > NOW.timestamp()


def test_an_account_without_search_goes_on_with_the_lists() -> None:
    found, _ = look(error(400, "search_unavailable"), NONE)
    assert found.evidence == "list_list_empty"


def test_another_attempts_charge_is_no_reason_to_stop() -> None:
    """The search knows the first attempt, which failed, and not yet the second."""
    names = {"purser_payment_id": PAYMENT}
    first = intent("requires_payment_method", metadata=names | {"purser_intent_seq": "1"})
    second = intent(id="pi_second", metadata=names | {"purser_intent_seq": "4"})
    found, asked = look(
        answer(listed("/", first)),
        answer(first),
        answer(listed("/", second, first)),
        answer(second),
        seq=4,
    )
    assert called(asked)[-1] == "GET /payment_intents/pi_second"
    assert [each.reference for each in found.charges] == ["pi_3PqA", "pi_second"]
    assert [each.reference for each in found.wanted] == ["pi_second"]


def test_an_attempt_is_absent_although_another_is_there() -> None:
    found, _ = look(answer(listed("/", intent())), answer(intent()), NONE, seq=4)
    assert len(found.charges) == 1
    assert found.wanted == ()
    assert found.complete
    assert found.evidence == "search_list_list_empty"


def test_a_list_that_was_not_read_to_its_end_proves_nothing() -> None:
    more = answer(listed("/", intent(id="pi_other", **OTHER), more=True))
    line = balance_transaction(source=charge())
    found, asked = look(NONE, more, NONE, more, NONE, answer(listed("/", line)), answer(WHOLE),
                        find_pages_most=1)  # fmt: skip
    assert called(asked)[-2:] == ["GET /balance_transactions", "GET /payment_intents/pi_3PqA"]
    assert found.evidence == "search_list_list_books_found"

    found, _ = look(NONE, more, NONE, more, NONE, NONE, find_pages_most=1)
    assert found.charges == ()
    assert not found.complete


def test_one_list_of_four_that_was_not_read_to_its_end_is_enough() -> None:
    one, two = (answer(listed("/", intent(id=f"pi_{n}", **OTHER), more=True)) for n in (1, 2))
    found, asked = look(NONE, one, two, NONE, find_pages_most=2)
    assert called(asked)[1:] == [LISTS[0], *LISTS, *LISTS, "GET /balance_transactions"]
    assert not found.complete


def test_a_source_that_cannot_be_read_is_no_absence() -> None:
    with pytest.raises(NotSent):
        look(error(429))
    with pytest.raises(OutcomeUnknown):
        look(NONE, error(500))


def test_a_page_nobody_paid_on_is_found_in_its_list() -> None:
    found, asked = look(NONE, NONE, answer(listed("/", page())), answer(page()))
    assert called(asked)[-1] == "GET /checkout/sessions/cs_test_a1"
    assert found.charges[0].status is ChargeStatus.ACTION_REQUIRED


def test_events_are_read_to_the_end_of_their_list() -> None:
    async def read(stripe: Processor) -> list[tuple[str, EventKind]]:
        return [(each.event_id, each.kind) async for each in stripe.events(CREATED_AT)]

    first = event("payment_intent.succeeded", intent(), id="evt_2")
    second = event("refund.created", refund(), id="evt_1")
    found, asked = use(read, answer(listed("/", first, more=True)), answer(listed("/", second)))
    assert found == [("evt_2", EventKind.CHARGE), ("evt_1", EventKind.CHARGE)]
    assert asked[0].params["types[0]"] == "payment_intent.amount_capturable_updated"
    assert asked[0].params["created[gte]"] == str(int(CREATED_AT.timestamp()))
    assert asked[1].params["starting_after"] == "evt_2"


def test_events_that_were_delivered_can_be_left_out() -> None:
    async def read(stripe: Processor) -> list[str]:
        listed = stripe.events(CREATED_AT, undelivered_only=True)
        return [each.event_id async for each in listed]

    _, asked = use(read, answer(listed("/")))
    assert asked[0].params["delivery_success"] == "false"


@pytest.mark.parametrize(
    "bad", [answer(listed("/", {"id": "evt_1"})), answer({"data": 3}), answer({})]
)
def test_an_event_that_cannot_be_read_is_not_left_out(bad: Behaviour) -> None:
    async def read(stripe: Processor) -> list[str]:
        return [each.event_id async for each in stripe.events(CREATED_AT)]

    with pytest.raises(OutcomeUnknown):
        use(read, bad)


def test_a_list_that_does_not_end_is_an_error() -> None:
    async def read(stripe: Processor) -> list[str]:
        return [each.event_id async for each in stripe.events(CREATED_AT)]

    again = answer(listed("/", event("refund.created", refund()), more=True))
    with pytest.raises(OutcomeUnknown, match="does not end"):
        use(read, again)


def test_the_books_are_read_line_by_line() -> None:
    async def read(stripe: StripeProcessor) -> list[int]:
        lines = poll.book_entries(stripe.client, CREATED_AT, datetime(2026, 12, 1, tzinfo=UTC))
        return [line.net_minor async for line in lines]

    found, asked = use(read, answer(listed("/", balance_transaction(2), balance_transaction(1))))
    assert found == [2397, 2397]
    assert "created[lt]" in asked[0].params


def test_the_terms_are_stripes() -> None:
    async def terms(stripe: Processor) -> Any:
        return stripe.name, stripe.terms

    (name, found), _ = use(terms, NONE)
    assert name == "stripe"
    assert found.may_repeat(NOW - timedelta(hours=23), NOW)
    assert not found.may_repeat(NOW - timedelta(hours=24), NOW)

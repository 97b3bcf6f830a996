"""`details`: one model per event type, strict, written in one way only."""

import pytest
from pydantic import ValidationError

from schemas.details import (
    NO_DETAILS,
    Asked,
    Details,
    RefundFailedDetails,
    canonical_details,
    details_text,
    parse_details,
)
from schemas.effects import EFFECTS
from schemas.lifecycle import Direction, EventType
from tests.builders import a_payment, change, rows_of, state_after
from writer import commands as c


def test_every_event_may_have_no_details() -> None:
    for effects in EFFECTS.values():
        for effect in effects.values():
            assert details_text(parse_details(effect.details, NO_DETAILS)) == NO_DETAILS


def test_absent_facts_are_not_written() -> None:
    assert details_text(Details(asked=Asked(amount_minor=5))) == '{"asked":{"amount_minor":5}}'


def test_what_jsonb_makes_of_it_is_read_back_as_it_was() -> None:
    text = details_text(RefundFailedDetails(refund_id="r", reason="x", asked=Asked(order_id="A")))
    reordered = '{"asked": {"order_id": "A"}, "reason": "x", "refund_id": "r"}'
    assert canonical_details(reordered) == text


@pytest.mark.parametrize(
    ("event_type", "text"),
    [
        (EventType.SHIPPED, '{"refund_id":"r"}'),
        (EventType.FAILED, '{"reason":5}'),
        (EventType.CAPTURED, '{"asked":{"amount_minor":"5"}}'),
        (EventType.CAPTURED, '{"asked":{"amount_minor":true}}'),
        (EventType.CAPTURED, '{"asked":{"amount":5}}'),
        (EventType.CAPTURED, "[]"),
        (EventType.CREATED, '{"flow":"guess"}'),
        (EventType.CREATED, '{"metadata":{"a":1}}'),
        (EventType.CAPTURED, '{"flow":"direct"}'),
        (EventType.ATTEMPTED, '{"attempt":"2"}'),
        (EventType.ACTION_REQUIRED, '{"url":5}'),
    ],
)
def test_other_details_are_refused(event_type: EventType, text: str) -> None:
    with pytest.raises(ValidationError):
        parse_details(EFFECTS[Direction.IN][event_type].details, text)


def test_what_was_asked_stands_on_the_first_row_only() -> None:
    payment = a_payment()
    rows = rows_of(state_after([payment]), change(c.Capture, payment.payment_id, amount_minor=150))
    assert [row.details for row in rows] == ['{"asked":{"amount_minor":150}}', NO_DETAILS]


def test_what_the_caller_asked_for_stands_on_the_first_row_of_a_payment() -> None:
    first, second = rows_of(
        None,
        a_payment(
            capture="manual", flow="hosted", return_url="https://shop.example/thanks",
            metadata={"b": "2", "a": "1"}, caller="shop", caller_key="k 1",
        ),
    )  # fmt: skip
    assert first.details == (
        '{"caller":"shop","caller_key":"k 1","capture":"manual","flow":"hosted",'
        '"metadata":{"a":"1","b":"2"},"return_url":"https://shop.example/thanks"}'
    )
    assert second.details == NO_DETAILS


def test_an_attempt_s_details_stand_on_every_row() -> None:
    payment = a_payment()
    attempt = change(c.Attempt, payment.payment_id, psp="adyen", evidence="search_empty")
    first, second = rows_of(state_after([payment]), attempt)
    assert first.details == '{"asked":{"psp":"adyen"},"attempt":2,"evidence":"search_empty"}'
    assert second.details == '{"attempt":2,"evidence":"search_empty"}'


def test_reasons_and_refund_ids_stand_on_every_row() -> None:
    payment = a_payment()
    failed = rows_of(state_after([payment]), change(c.Fail, payment.payment_id, reason="declined"))
    assert [row.details for row in failed] == ['{"reason":"declined"}'] * 2
    captured = state_after([payment, change(c.Capture, payment.payment_id)])
    refund = change(c.RequestRefund, payment.payment_id, refund_id="re1")
    assert [row.details for row in rows_of(captured, refund)] == ['{"refund_id":"re1"}'] * 2

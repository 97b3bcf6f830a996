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
    ],
)
def test_other_details_are_refused(event_type: EventType, text: str) -> None:
    with pytest.raises(ValidationError):
        parse_details(EFFECTS[Direction.IN][event_type].details, text)


def test_what_was_asked_stands_on_the_first_row_only() -> None:
    payment = a_payment()
    rows = rows_of(state_after([payment]), change(c.Capture, payment.payment_id, amount_minor=150))
    assert [row.details for row in rows] == ['{"asked":{"amount_minor":150}}', NO_DETAILS]


def test_reasons_and_refund_ids_stand_on_every_row() -> None:
    payment = a_payment()
    failed = rows_of(state_after([payment]), change(c.Fail, payment.payment_id, reason="declined"))
    assert [row.details for row in failed] == ['{"reason":"declined"}'] * 2
    captured = state_after([payment, change(c.Capture, payment.payment_id)])
    refund = change(c.RequestRefund, payment.payment_id, refund_id="re1")
    assert [row.details for row in rows_of(captured, refund)] == ['{"refund_id":"re1"}'] * 2

"""What a caller may conclude from a look-up, and when a request may be repeated."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.charges import Charge, ChargeStatus, Lookup, Terms

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TERMS = Terms(keys_kept=timedelta(hours=24), under_way_most=timedelta(minutes=5))
FOUND = Charge(
    psp="stripe",
    reference="pi_1",
    payment_id=None,
    intent_seq=None,
    currency="EUR",
    amount_minor=1,
    status=ChargeStatus.CAPTURED,
    authorized_minor=1,
    captured_minor=1,
    at=NOW,
)


def lookup(*charges: Charge, complete: bool = True) -> Lookup:
    return Lookup(charges=charges, sources=("search", "list"), complete=complete, looked_at=NOW)


@pytest.mark.parametrize(
    ("sent_before", "repeatable"),
    [
        (timedelta(0), True),
        (timedelta(hours=23, minutes=54), True),
        # It could wait 5 minutes at the PSP, which then has forgotten the key.
        (timedelta(hours=23, minutes=55), False),
        (timedelta(hours=25), False),
    ],
)
def test_a_key_is_good_for_a_day_less_the_time_under_way(
    sent_before: timedelta, repeatable: bool
) -> None:
    assert TERMS.may_repeat(NOW - sent_before, NOW) is repeatable


@pytest.mark.parametrize(
    ("found", "sent_before", "absent"),
    [
        (lookup(), timedelta(minutes=5), True),
        (lookup(), timedelta(minutes=4, seconds=59), False),  # still under way
        (lookup(complete=False), timedelta(hours=1), False),
        (lookup(FOUND), timedelta(hours=1), False),
    ],
)
def test_absence_is_proven_by_a_whole_list_after_the_request_has_settled(
    found: Lookup, sent_before: timedelta, absent: bool
) -> None:
    assert found.proves_absence(TERMS, NOW - sent_before) is absent


def test_the_charge_of_another_attempt_is_no_presence() -> None:
    other = replace(lookup(FOUND), intent_seq=4)
    assert other.proves_absence(TERMS, NOW - timedelta(hours=1))
    same = replace(lookup(replace(FOUND, intent_seq=4)), intent_seq=4)
    assert not same.proves_absence(TERMS, NOW - timedelta(hours=1))


def test_the_evidence_is_a_short_code() -> None:
    assert lookup().evidence == "search_list_empty"
    assert lookup(FOUND).evidence == "search_list_found"

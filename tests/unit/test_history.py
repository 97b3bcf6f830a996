"""Recorded history: what a good line becomes, and what is said about a bad one."""

import json
from copy import deepcopy
from typing import Any

import pytest

from schemas.errors import InputError
from schemas.lifecycle import EventType
from tests.histories import a_history, an_event, an_order
from writer.importing.history import decide_line, parse_line


def decided(*events: dict[str, Any]) -> list[tuple[str, str, int]]:
    line = json.dumps(a_history(*events)).encode()
    rows = decide_line(line, psp="stripe")
    return [(row.event_type, row.order_id, row.amount_minor) for row in rows[2:]]


def refusal_of(line: bytes) -> InputError:
    with pytest.raises(InputError) as raised:
        decide_line(line, psp="stripe")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    return raised.value


CAPTURED = an_event("captured")
ONE = json.dumps(a_history()).encode()


def test_events_are_for_every_order_and_all_that_is_left() -> None:
    assert decided(an_event("authorized"), an_event("captured", 3, amount_minor=3),
                   an_event("captured", 4), an_event("shipped", 5, order_id="B")) == [
        ("authorized", "A", 1000), ("authorized", "B", 501),
        ("captured", "A", 2), ("captured", "B", 1),
        ("captured", "A", 998), ("captured", "B", 500),
        ("shipped", "B", 0),
    ]  # fmt: skip


def test_every_row_has_its_place_its_key_and_its_time() -> None:
    rows = decide_line(json.dumps(a_history(CAPTURED)).encode(), psp="stripe")
    assert [row.seq for row in rows] == [1, 2, 3, 4]
    assert [row.idempotency_key for row in rows] == ["history-of-1"] * 2 + ["history-1"] * 2
    assert [row.occurred_at.day for row in rows] == [1, 1, 2, 2]
    assert {row.psp for row in rows} == {"stripe"}


def test_every_event_of_a_payment_can_be_recorded() -> None:
    seen = {kind for kind, _, _ in decided(
        *(an_event(kind) for kind in (
            "action_required", "processing", "unknown", "authorized", "captured", "shipped",
            "delivered", "released")),
        an_event("refund_requested", amount_minor=300),
        an_event("refund_failed"),
        an_event("refund_requested", amount_minor=200, refund_id="re_1"),
        an_event("refunded", refund_id="re_1"),
        an_event("refund_returned", refund_id="re_1"),
        an_event("dispute_opened", order_id="A", amount_minor=100),
        an_event("dispute_won"),
        an_event("dispute_opened", amount_minor=100),
        an_event("dispute_lost"),
        an_event("dispute_won"),
    )}  # fmt: skip
    seen |= {kind for kind, _, _ in decided(
        an_event("authorized"), an_event("capture_requested"), an_event("capture_failed"),
        an_event("cancel_requested"), an_event("cancel_failed"), an_event("expired"),
        an_event("captured"), an_event("refunded", amount_minor=3), an_event("honoured"),
    )}  # fmt: skip
    over = {kind for kind in ("failed", "cancelled", "expired") if decided(an_event(kind))}
    assert seen | over == {
        kind for kind in EventType
        if kind not in ("created", "attempted", "requested", "submitted", "paid", "returned",
                        "stray_disputed", "stray_dispute_won")  # a line names no PSP
    }  # fmt: skip


def test_refund_without_an_id_settles_the_oldest_request_that_it_fits() -> None:
    settled = decided(
        CAPTURED,
        an_event("refund_requested", 3, order_id="A", amount_minor=10),
        an_event("refund_requested", 4, order_id="A", amount_minor=20),
        an_event("refunded", 5, order_id="A", amount_minor=20),
        an_event("refunded", 6, order_id="A"),
    )
    assert settled[-2:] == [("refunded", "A", 20), ("refunded", "A", 10)]


def test_refund_that_fits_no_request_is_a_direct_one() -> None:
    rows = decided(
        CAPTURED,
        an_event("refund_requested", 3, order_id="A", amount_minor=10),
        an_event("refunded", 4, order_id="A", amount_minor=990),
    )
    assert rows[-1] == ("refunded", "A", 990)


def test_same_line_is_always_the_same_rows() -> None:
    line = json.dumps(a_history(CAPTURED, an_event("refund_requested", 3, amount_minor=7))).encode()
    assert decide_line(line, psp="stripe") == decide_line(line, psp="stripe")


# -- a key that is there twice ------------------------------------------------------------------


def twice(line: dict[str, Any], *path: str | int, value: Any = 900) -> bytes:
    """The line as JSON, in which the last key of the path is repeated with another value."""
    *way, key = path
    line = deepcopy(line)
    holder: Any = line
    for part in way:
        holder = holder[part]
    holder["#"] = value
    return json.dumps(line).replace('"#"', json.dumps(key)).encode()


LINE = (an_event("captured", amount_minor=900), an_event("shipped", 3, order_id="A"))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (twice(a_history(*LINE), "currency", value="USD"), "currency"),
        (twice(a_history(*LINE), "currency", value="EUR"), "currency"),
        (twice(a_history(*LINE), "events", value=[]), "events"),
        (twice(a_history(*LINE), "orders", value=[an_order("A")]), "orders"),
        (twice(a_history(*LINE), "created_at", value="2024-04-30T12:00:00Z"), "created_at"),
        (twice(a_history(*LINE), "orders", 1, "amount_minor"), "orders[1].amount_minor"),
        (twice(a_history(*LINE), "events", 0, "amount_minor"), "events[0].amount_minor"),
        (twice(a_history(*LINE), "events", 1, "order_id", value="B"), "events[1].order_id"),
        (twice(a_history(*LINE), "events", 1, "order_id", value=None), "events[1].order_id"),
        # The first value is never read, so it may be anything.
        (b'{"events": {"a": [{"b": 1}]}, ' + json.dumps(a_history(*LINE)).encode()[1:], "events"),
        (b'{"events": ' + b"9" * 4_000 + b", " + ONE[1:], "events"),
        (b'{"events": NaN, ' + ONE[1:], "events"),
        (b'{"\\u0065vents": 1, ' + ONE[1:], "events"),
        (b'{"events" : 1, ' + ONE[1:], "events"),
    ],
)
def test_key_that_is_there_twice_is_refused_by_name(line: bytes, field: str) -> None:
    error = refusal_of(line)
    assert error.field == field
    assert "twice" in error.problem


@pytest.mark.parametrize(
    "history",
    [
        a_history(),
        a_history(*LINE, an_event("refund_requested", 4, refund_id="r", order_id=None)),
        a_history(orders=[an_order("Ä{:,}")], events=[]),
    ],
)
def test_a_usual_line_is_parsed_once(
    history: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("writer.importing.history.duplicate_key")
    parse_line(json.dumps(history, ensure_ascii=False).encode())


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\tb", "Ä"])
def test_a_line_with_escapes_is_parsed_too(text: str) -> None:
    assert parse_line(json.dumps(a_history(buyer_id=text)).encode()).buyer_id == text


# -- bad lines: (line, field, words of the reason) ----------------------------------------------

MALFORMED: list[tuple[bytes, str, str]] = [
    (b"", "line", "is not JSON"),
    (b"nonsense", "line", "is not JSON"),
    (b'{"idempotency_key": "k"', "line", "is not JSON"),
    (b'{"idempotency_key": "\xff"}', "line", "is not JSON"),
    (b'{"idempotency_key": "\\ud800"}', "line", "is not JSON"),
    (b"[1]", "line", "must be an object"),
    (b'"text"', "line", "must be an object"),
    (b"{}", "idempotency_key", "is missing (and 6 more)"),
    (b"[" * 100_000, "line", "is not JSON"),
    (b'{"events": ' + b"[" * 900 + b"]" * 900 + b", " + ONE[1:], "line", "is not JSON"),
    (ONE.replace(b"1000", b"1e3", 1), "orders[0].amount_minor", "1000.0 must be"),
    (ONE.replace(b"1000", b"NaN", 1), "orders[0].amount_minor", "must be"),
    (ONE.replace(b"1000", b"9" * 5_000, 1), "line", "is not JSON"),
    (ONE.replace(b"1000", b"01000", 1), "line", "is not JSON"),
    (ONE + b"\0", "line", "is not JSON"),
]


@pytest.mark.parametrize(("line", "field", "words"), MALFORMED)
def test_malformed_line(line: bytes, field: str, words: str) -> None:
    error = refusal_of(line)
    assert error.field == field
    assert words in error.problem


BAD: list[tuple[dict[str, Any], str, str]] = [
    # types
    (a_history(currency=978), "currency", "978 must be text"),
    (a_history(orders={}), "orders", "must be a list"),
    (a_history(orders=["A"]), "orders[0]", "must be an object"),
    (a_history(orders=[an_order(amount_minor=1000.0)]), "orders[0].amount_minor", "1000.0 must be"),
    (a_history(orders=[an_order(amount_minor=9.99)]), "orders[0].amount_minor", "whole number"),
    (a_history(orders=[an_order(amount_minor=True)]), "orders[0].amount_minor", "True must be"),
    (a_history(orders=[an_order(amount_minor="1000")]), "orders[0].amount_minor", "'1000' must be"),
    (a_history(orders=[an_order(amount_minor=None)]), "orders[0].amount_minor", "None must be"),
    (a_history(an_event("captured", amount_minor=1.5)), "events[0].amount_minor", "1.5 must be"),
    (a_history(colour="red"), "colour", "is not a field"),
    (a_history(an_event("captured", amont_minor=5)), "events[0].amont_minor", "not a field"),
    # times
    (a_history(created_at="2024-05-01T12:00:00"), "created_at", "no time zone"),
    (a_history(created_at="2024-05-01"), "created_at", "no time zone"),
    (a_history(created_at="yesterday"), "created_at", "'yesterday' is not a time"),
    (a_history(created_at=1714564800), "created_at", "is not a time"),
    (a_history(created_at="1714564800"), "created_at", "is not a time"),
    (a_history(created_at="2023-02-29T00:00:00Z"), "created_at", "does not exist"),
    (a_history(created_at="2023-01-01T24:00:00Z"), "created_at", "does not exist"),
    (a_history(created_at="1969-12-31T23:59:59Z"), "created_at", "time_out_of_range"),
    (a_history(created_at="0001-01-01T00:00:00+14:00"), "created_at", "time_out_of_range"),
    (a_history(an_event("captured", at="2024-05-02T12:00")), "events[0].at", "no time zone"),
    (a_history(an_event("captured", at="2024-04-30T12:00:00Z")), "events[0].at",
     "is before created_at"),
    (a_history(an_event("captured", 9), an_event("shipped", 8)), "events[1].at",
     "is before events[0].at"),
    (a_history(created_at="2024-01-01T00:00:00+01:00:30.5"), "created_at", "is not a time"),
    (a_history(created_at="2024-01-01☃00:00:00Z"), "created_at", "is not a time"),
    (a_history(created_at="2024-01-01T00:00:00.9999999Z"), "created_at", "finer"),
    (a_history(an_event("captured", at="2024-12-31T23:59:60Z")), "events[0].at", "leap second"),
    # values
    (a_history(currency="HRK"), "currency", "HRK was withdrawn in 2023-01"),
    (a_history(currency="XAU"), "currency", "not an ISO 4217"),
    (a_history(currency="EURO"), "currency", "not an ISO 4217"),
    (a_history(idempotency_key=""), "idempotency_key", "is empty"),
    (a_history(buyer_id="Zoë"), "buyer_id", "U+00EB at position 3"),
    (a_history(buyer_id="a\0b"), "buyer_id", "U+0000"),
    (a_history(orders=[]), "orders", "no_orders"),
    (a_history(orders=[an_order("A"), an_order("A")]), "orders[1].order_id", "A is orders[0]"),
    (a_history(orders=[an_order(amount_minor=0)]), "orders[0].amount_minor", "is 0"),
    (a_history(orders=[an_order(amount_minor=-5)]), "orders[0].amount_minor", "is -5"),
    (a_history(orders=[an_order(amount_minor=2**63)]), "orders[0].amount_minor", "at most"),
    (a_history(orders=[an_order(amount_minor=10**400)]), "orders[0].amount_minor", "at most"),
    (a_history(orders=[an_order(amount_minor=1e3)]), "orders[0].amount_minor", "1000.0 must be"),
    (a_history(orders=[an_order(amount_minor=1e300)]), "orders[0].amount_minor", "1e+300 must be"),
    (a_history(orders=[an_order(commission_minor=951)]), "orders[0].commission_minor", "exceed"),
    (a_history(orders=[an_order(logistics_fee_minor=-1)]), "orders[0].logistics_fee_minor", "-1"),
    # the lifecycle and money
    (a_history(an_event("exploded")), "events[0].type", "'exploded' is not an event"),
    (a_history(an_event("created")), "events[0].type", "'created' is not an event"),
    (a_history(an_event("paid")), "events[0].type", "'paid' is not an event"),
    (a_history(an_event("refunded")), "events[0].type", "illegal_transition"),
    (a_history(CAPTURED, an_event("authorized", 3)), "events[1].type", "illegal_transition"),
    (a_history(CAPTURED, an_event("refund_failed", 3)), "events[1].type", "no open refund"),
    (a_history(an_event("captured", amount_minor=1502)), "events[0].amount_minor", "only 1501"),
    (a_history(an_event("captured", amount_minor=-1)), "events[0].amount_minor", "is -1"),
    (a_history(an_event("captured", amount_minor=2**63)), "events[0].amount_minor", "at most"),
    (a_history(an_event("captured", order_id="C")), "events[0].order_id", "unknown_order"),
    (a_history(CAPTURED, an_event("refunded", 3, order_id="B", amount_minor=502)),
     "events[1].amount_minor", "only 501"),
    (a_history(CAPTURED, CAPTURED), "events[1].amount_minor", "nothing is left"),
    (a_history(an_event("shipped", amount_minor=5), an_event("x")), "events[0].type", "illegal"),
    (a_history(CAPTURED, an_event("shipped", 3, amount_minor=5)), "events[1].amount_minor",
     "is about 0"),
    (a_history(CAPTURED, an_event("dispute_opened", 3, amount_minor=5),
               an_event("dispute_lost", 4, amount_minor=4)), "events[2].amount_minor",
     "is about 5"),
    (a_history(CAPTURED, an_event("shipped", 3, refund_id="r")), "events[1].refund_id",
     "no meaning"),
    (a_history(CAPTURED, an_event("refund_requested", 3, order_id="A", refund_id="r"),
               an_event("refund_failed", 4, order_id="B", refund_id="r")), "events[2].order_id",
     "is not the order"),
    (a_history(idempotency_key="history-1"), "idempotency_key", "is reserved"),
    (a_history(*[an_event("shipped")] * 10_001), "events", "over 10000 events"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("history", "field", "words"), BAD, ids=[f"{n}-{bad[1]}" for n, bad in enumerate(BAD)]
)
def test_bad_line(history: dict[str, Any], field: str, words: str) -> None:
    error = refusal_of(json.dumps(history).encode())
    assert error.field == field
    assert words in error.problem

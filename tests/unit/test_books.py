"""The comparison of a PSP's books with `payments`: kinds, looks, windows, verdicts, the report."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from cli.books_report import show
from connectors.books import RECEIVABLE_SIGN, BookKind
from operations.books import Options, Report, Verdict
from operations.books.psps import OPENERS, check_psp
from operations.books.recorded import KINDS, amount_of
from operations.books.report import State
from operations.books.suspects import AGAIN_SECONDS
from schemas.accounts import AccountType
from schemas.effects import EFFECTS
from schemas.errors import UsageError
from schemas.events import Event
from schemas.lifecycle import Direction, EventType
from streams.fold.postings import postings
from tests.books import MemoryRecorded, compare
from tests.events import pay_in
from tests.stripe_books import BEGIN, StripeModel

PAID, OTHER = UUID(int=1), UUID(int=2)
LONG_AGO = datetime.fromtimestamp(BEGIN, UTC)
E = EventType
CHARGES, REFUNDS = BookKind.CHARGES, BookKind.REFUNDS
TAKEN, BACK = BookKind.DISPUTES_TAKEN, BookKind.DISPUTES_GIVEN_BACK


def event(event_type: EventType, amount: int, reference: str | None, **fields: Any) -> Event:
    """An event that was recorded when the model's books begin."""
    given: dict[str, Any] = {
        "payment_id": PAID,
        "amount_minor": amount,
        "psp_reference": reference,
        "occurred_at": LONG_AGO,
        "recorded_at": LONG_AGO,
    }
    return pay_in(event_type, **given | fields)


def paid(amount: int = 1000, currency: str = "EUR") -> tuple[StripeModel, str, list[Event]]:
    """One payment, captured on both sides."""
    model = StripeModel()
    intent = model.charge(PAID, currency, amount)
    model.capture(intent, amount)
    return model, intent, [event(E.CAPTURED, amount, intent, currency=currency)]


# -- what an event is at the PSP


@pytest.mark.parametrize("event_type", EFFECTS[Direction.IN])
@pytest.mark.parametrize("amount", [0, 700])
def test_an_event_counts_with_what_it_does_to_the_receivable(
    event_type: EventType, amount: int
) -> None:
    suspense = {
        E.STRAY_CAPTURED: amount,
        E.STRAY_REFUNDED: -amount,
        E.HONOURED: -amount,
        E.DISPUTE_OPENED: -30,
        E.DISPUTE_WON: 30,
        E.DISPUTE_REVERSED: 30,
        E.REFUND_RETURNED: amount,
        E.STRAY_DISPUTED: -amount,
        E.STRAY_DISPUTE_WON: amount,
    }.get(event_type, 0)
    row = event(event_type, amount, "x", suspense_minor=suspense)
    receivable = sum(
        leg.amount_minor for leg in postings(row) if leg.account_type is AccountType.PSP_RECEIVABLE
    )
    counted = 0
    if kind := KINDS.get(event_type):
        counted = RECEIVABLE_SIGN[kind] * amount_of(event_type, amount, suspense)
    assert counted == receivable


def test_the_kind_of_every_event_that_moves_money_at_the_psp() -> None:
    assert KINDS == {
        E.CAPTURED: CHARGES,
        E.STRAY_CAPTURED: CHARGES,
        E.REFUNDED: REFUNDS,
        E.STRAY_REFUNDED: REFUNDS,
        E.REFUND_RETURNED: REFUNDS,
        E.STRAY_DISPUTED: TAKEN,
        E.STRAY_DISPUTE_WON: BACK,
        E.DISPUTE_REVERSED: BACK,
        E.DISPUTE_OPENED: TAKEN,
        E.DISPUTE_WON: BACK,
    }


# -- one difference of every kind


def _refund_only_there(model: StripeModel, intent: str, _: list[Event]) -> str:
    return model.refund(intent, 300)


def _refund_only_here(_: StripeModel, __: str, events: list[Event]) -> str:
    events.append(event(E.REFUNDED, 300, "re_none"))
    return "re_none"


def _capture_missing_here(_: StripeModel, intent: str, events: list[Event]) -> str:
    events.clear()
    return intent


def _charge_missing_there(model: StripeModel, intent: str, _: list[Event]) -> str:
    model.lines.clear()
    return intent


def _charge_less_there(model: StripeModel, intent: str, _: list[Event]) -> str:
    model.lines[0]["amount"] -= 1
    return intent


def _dispute_only_there(model: StripeModel, intent: str, _: list[Event]) -> str:
    return model.dispute(intent, 1000)


def _win_only_here(model: StripeModel, intent: str, events: list[Event]) -> str:
    dispute = model.dispute(intent, 1000)
    events.append(event(E.DISPUTE_OPENED, 1000, dispute))
    events.append(event(E.DISPUTE_WON, 1000, dispute))
    return dispute


def _refund_that_failed_later(model: StripeModel, intent: str, events: list[Event]) -> str:
    refund = model.refund(intent, 300)
    events.append(event(E.REFUNDED, 300, refund))
    model.fail_refund(refund)
    return refund


def _recorded_for_another_payment(_: StripeModel, intent: str, events: list[Event]) -> str:
    events[0] = event(E.CAPTURED, 1000, intent, payment_id=OTHER)
    return intent


Alter = Callable[[StripeModel, str, list[Event]], str]


@pytest.mark.parametrize(
    ("alter", "found"),
    [
        (_refund_only_there, [(PAID, REFUNDS, 0, 300, "only in the PSP's books")]),
        (_refund_only_here, [(PAID, REFUNDS, 300, 0, "only in payments")]),
        (_capture_missing_here, [(PAID, CHARGES, 0, 1000, "only in the PSP's books")]),
        (_charge_missing_there, [(PAID, CHARGES, 1000, 0, "only in payments")]),
        (_charge_less_there, [(PAID, CHARGES, 1000, 999, "in both, with different amounts")]),
        (_dispute_only_there, [(PAID, TAKEN, 0, 1000, "only in the PSP's books")]),
        (_win_only_here, [(PAID, BACK, 1000, 0, "only in payments")]),
        (_refund_that_failed_later, [(PAID, REFUNDS, 300, 0, "in both, with different amounts")]),
        (
            _recorded_for_another_payment,
            [
                (PAID, CHARGES, 0, 1000, "only in the PSP's books"),
                (OTHER, CHARGES, 1000, 0, "only in payments"),
            ],
        ),
    ],
)
def test_a_difference_is_found_and_named(
    alter: Alter, found: list[tuple[UUID, BookKind, int, int, str]]
) -> None:
    model, intent, events = paid()
    reference = alter(model, intent, events)
    report = compare(MemoryRecorded(events), model.books())
    assert (report.verdict, report.exit_status, report.differing) == (Verdict.DIFFER, 1, len(found))
    assert [
        (d.payment_id, d.kind, d.expected_minor, d.actual_minor, d.note) for d in report.differences
    ] == [(str(payment), *rest) for payment, *rest in found]
    assert {d.reference for d in report.differences} == {reference}
    assert {d.state for d in report.differences} == {State.PROVEN}
    total = report.totals["EUR", found[0][1]]
    assert total.differing == len(found)


@pytest.mark.parametrize(
    ("currency", "amount"), [("EUR", 1000), ("JPY", 5000), ("KWD", 12_300), ("ISK", 1500)]
)
def test_amounts_are_in_our_units(currency: str, amount: int) -> None:
    model, intent, events = paid(amount, currency)
    events.append(event(E.REFUNDED, amount // 10, model.refund(intent, amount // 10),
                        currency=currency))  # fmt: skip
    report = compare(MemoryRecorded(events), model.books())
    assert report.verdict is Verdict.AGREE
    assert report.totals[currency, CHARGES].actual_minor == amount
    assert report.totals[currency, REFUNDS].actual_minor == amount // 10


def test_everything_at_once_agrees() -> None:
    model, intent, events = paid()
    events.append(event(E.REFUNDED, 300, model.refund(intent, 300)))
    dispute = model.dispute(intent, 800)
    events.append(event(E.DISPUTE_OPENED, 700, dispute, suspense_minor=-100))
    model.reinstate(dispute)
    events.append(event(E.DISPUTE_WON, 700, dispute, suspense_minor=100))
    model.fail_refund(model.refund(intent, 50))
    stray = model.charge(PAID, "EUR", 400)
    model.capture(stray, 400)
    events.append(event(E.STRAY_CAPTURED, 400, stray, suspense_minor=400))
    back = model.refund(stray, 400)
    events.append(event(E.STRAY_REFUNDED, 400, back, suspense_minor=-400))
    events.append(event(E.HONOURED, 10, None, suspense_minor=-10))
    report = compare(MemoryRecorded(events), model.books())
    assert report.verdict is Verdict.AGREE, report.to_json()
    assert {key: total.actual_minor for key, total in report.totals.items()} == {
        ("EUR", CHARGES): 1400,
        ("EUR", REFUNDS): 700,
        ("EUR", TAKEN): 800,
        ("EUR", BACK): 800,
    }
    assert report.fees == {"EUR": 1500}


# -- money under way


def test_what_arrives_between_two_looks_agrees() -> None:
    model, intent, events = paid()
    refund = model.refund(intent, 300)

    def arrives() -> None:
        recorded.events.append(event(E.REFUNDED, 300, refund))

    recorded = MemoryRecorded(events, before_look=arrives)
    report = compare(recorded, model.books(), grace_seconds=600.0)
    assert (report.verdict, report.looks) == (Verdict.AGREE, 2)
    assert report.totals["EUR", REFUNDS].expected_minor == 300


def test_young_money_is_under_way_and_not_a_difference() -> None:
    model, intent, events = paid()
    model.now = int(datetime.now(UTC).timestamp())
    model.refund(intent, 300)
    report = compare(
        MemoryRecorded(events), model.books(), grace_seconds=600.0, timeout_seconds=60.0
    )
    assert (report.verdict, report.exit_status) == (Verdict.UNDECIDED, 2)
    assert [d.state for d in report.differences] == [State.UNDER_WAY]
    assert "1 amount that differs may be under way" in report.reason


def test_young_money_is_a_difference_once_it_was_seen_for_long_enough() -> None:
    """Also where the PSP's clock is ahead of ours, so that its lines never seem old."""
    model, intent, events = paid()
    model.now = int(datetime.now(UTC).timestamp()) + 86_400
    model.refund(intent, 300)
    report = compare(
        MemoryRecorded(events), model.books(), grace_seconds=60.0, timeout_seconds=150.0
    )
    assert report.verdict is Verdict.DIFFER
    assert 60 <= report.waited_seconds < 90


def test_old_money_is_proven_by_a_second_look() -> None:
    model, intent, events = paid()
    model.now = int((datetime.now(UTC) - timedelta(hours=1)).timestamp())
    model.refund(intent, 300)
    report = compare(MemoryRecorded(events), model.books(), grace_seconds=600.0)
    assert report.verdict is Verdict.DIFFER
    assert AGAIN_SECONDS <= report.waited_seconds < 15


def test_an_amount_that_changes_with_every_look_is_no_proof() -> None:
    model, intent, events = paid()

    def changes() -> None:
        recorded.events.append(event(E.CAPTURED, 1, intent))

    recorded = MemoryRecorded([*events, event(E.CAPTURED, 1, intent)], before_look=changes)
    report = compare(recorded, model.books(), timeout_seconds=2.0)
    assert report.verdict is Verdict.UNDECIDED


def test_time_that_was_not_given_leaves_it_undecided() -> None:
    model, intent, events = paid()
    model.refund(intent, 300)
    report = compare(MemoryRecorded(events), model.books(), timeout_seconds=0.0)
    assert (report.verdict, report.looks) == (Verdict.UNDECIDED, 1)


def test_what_a_bank_has_not_decided_is_named_and_not_counted() -> None:
    model, _, events = paid()
    transfer = model.charge(OTHER, "EUR", 700, status="pending")
    model.capture(transfer, 700)
    report = compare(MemoryRecorded(events), model.books())
    assert report.verdict is Verdict.AGREE
    assert [(u.what, u.at_psp, u.count, u.amount_minor) for u in report.under_way] == [
        ("charges", True, 1, 700)
    ]
    model.fail_charge(transfer)
    report = compare(MemoryRecorded(events), model.books())
    assert (report.verdict, report.under_way) == (Verdict.AGREE, [])


def test_a_charge_that_failed_after_it_was_booked_is_read_whole() -> None:
    """Also when it is asked for alone: the line that takes it back has another source."""
    model, _, events = paid()
    transfer = model.charge(OTHER, "EUR", 700)
    model.capture(transfer, 700)
    model.fail_charge(transfer)
    events.append(event(E.CAPTURED, 700, transfer, payment_id=OTHER))
    report = compare(MemoryRecorded(events), model.books())
    assert [(d.reference, d.expected_minor, d.actual_minor) for d in report.differences] == [
        (transfer, 700, 0)
    ]


# -- whose money it is


def test_a_charge_made_by_hand_stands_apart() -> None:
    model, _, events = paid()
    by_hand = model.charge(None, "EUR", 250)
    model.capture(by_hand, 250)
    dispute = model.dispute(by_hand, 250)
    report = compare(MemoryRecorded(events), model.books(), rows=1)
    assert report.verdict is Verdict.AGREE
    assert report.foreign_count == 2
    assert [each.reference for each in report.foreign] == [dispute]
    assert report.totals["EUR", CHARGES].actual_minor == 1000


def test_a_refund_made_by_hand_of_our_charge_is_ours() -> None:
    """Its intent says whose it is; without metadata, our own record of the charge does."""
    for metadata in ({"purser_payment_id": str(PAID)}, {}):
        model, intent, events = paid()
        model.intent(intent)["metadata"] = metadata
        model.charge_of(intent)["metadata"] = metadata
        refund = model.refund(intent, 1)
        report = compare(MemoryRecorded(events), model.books())
        assert [d.reference for d in report.differences] == [refund]
        assert report.foreign_count == 0


def test_events_without_a_reference_take_the_lines_that_no_event_names() -> None:
    model, _, events = paid()
    second = model.charge(PAID, "EUR", 500)
    model.capture(second, 500)
    report = compare(MemoryRecorded([*events, event(E.CAPTURED, 500, None)]), model.books())
    assert report.verdict is Verdict.AGREE
    report = compare(MemoryRecorded([*events, event(E.CAPTURED, 499, None)]), model.books())
    assert report.verdict is Verdict.DIFFER
    assert report.differing == 2


# -- a window


def test_a_window_takes_no_charge_apart() -> None:
    """The first capture is older than the window; the charge is compared whole."""
    model, intent, events = paid()
    model.now = BEGIN + 10 * 86_400
    model.capture(intent, 200)
    later = LONG_AGO + timedelta(days=10)
    events.append(event(E.CAPTURED, 200, intent, occurred_at=later))
    since = (LONG_AGO + timedelta(days=5)).date()
    report = compare(MemoryRecorded(events), model.books(), since=since)
    assert (report.verdict, report.lines) == (Verdict.AGREE, 1)
    assert report.totals["EUR", CHARGES].expected_minor == 1200


def test_a_window_leaves_out_what_is_older_and_finds_what_lacks_a_record() -> None:
    model, _, events = paid()
    model.lines[0]["amount"] = 1  # wrong, but before the window
    model.now = BEGIN + 10 * 86_400
    late = model.charge(OTHER, "EUR", 700)
    model.capture(late, 700)
    since = (LONG_AGO + timedelta(days=5)).date()
    early = event(E.CAPTURED, 700, late, payment_id=OTHER)  # its bank reserved it before
    assert compare(MemoryRecorded([*events, early]), model.books(), since=since).exit_status == 0
    report = compare(MemoryRecorded(events), model.books(), since=since)
    assert [d.reference for d in report.differences] == [late]


def test_what_is_made_while_the_books_are_read() -> None:
    """Lines that payments already has are found; those it lacks are for the next comparison."""
    model, _, events = paid()

    class Meanwhile(MemoryRecorded):
        def take_snapshot(self) -> tuple[str, datetime]:
            if not self.looks:
                known = model.charge(OTHER, "EUR", 700)
                model.capture(known, 700)
                self.events.append(event(E.CAPTURED, 700, known, payment_id=OTHER))
                model.capture(model.charge(uuid4(), "EUR", 900), 900)
            return super().take_snapshot()

    report = compare(Meanwhile(events), model.books())
    assert (report.verdict, report.looks) == (Verdict.AGREE, 1)
    assert report.totals["EUR", CHARGES].actual_minor == 1700


def test_a_page_that_fails_is_read_again() -> None:
    model = StripeModel(page=2)
    events = []
    for number in range(1, 8):
        intent = model.charge(UUID(int=number), "EUR", 100)
        model.capture(intent, 100)
        events.append(event(E.CAPTURED, 100, intent, payment_id=UUID(int=number)))
    model.failures = 3
    report = compare(MemoryRecorded(events), model.books())
    assert (report.verdict, report.lines) == (Verdict.AGREE, 7)
    assert model.failures == 0


# -- the report


def test_the_json_has_the_same_keys_for_every_verdict() -> None:
    model, intent, events = paid()
    model.payout("EUR", 900)
    agrees = compare(MemoryRecorded(events), model.books())
    model.refund(intent, 300)
    differs = compare(MemoryRecorded(events), model.books())
    fails = Report(verdict=Verdict.UNDECIDED, psp="stripe", reason="stripe: down")
    documents = [json.loads(json.dumps(each.to_json())) for each in (agrees, differs, fails)]
    assert [d["exit_status"] for d in documents] == [0, 1, 2]
    assert documents[0].keys() == documents[1].keys() == documents[2].keys()
    assert documents[0]["uncompared"] == [
        {"category": "payout", "currency": "EUR", "count": 1, "amount_minor": -900}
    ]


def test_the_table_for_people() -> None:
    model, intent, events = paid(150_000, "EUR")
    refund = model.refund(intent, 300)
    model.capture(model.charge(None, "JPY", 250), 250)
    model.payout("EUR", 900)
    text = shown(compare(MemoryRecorded(events), model.books()))
    for words in (
        "1,500.00",
        f"differs: payment {PAID}  {refund}  refunds: payments 0.00 EUR, PSP 3.00 EUR",
        "At stripe without a payment of ours: 1",
        "charges: 250 JPY",
        "4 lines; not in payments: 1 payout of stripe to us -9.00 EUR",
        "DIFFER: 1 amount differs",
    ):
        assert words in text, text


def shown(report: Report) -> str:
    """The report as people see it."""
    console = Console(width=110, record=True, file=io.StringIO())
    show(report, console)
    return console.export_text()


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    model, _, events = paid()
    text = shown(compare(MemoryRecorded(events), model.books()))
    assert ("books      1 line\n" in text, "(1 look)" in text) == (True, True), text


def test_payments_of_another_psp_are_told_to_be_beside() -> None:
    model = StripeModel()
    report = compare(MemoryRecorded([]), model.books())
    assert " ".join(shown(report).split()).endswith(
        "AGREE: neither side has money at stripe; payments with another psp, such as imported"
        " ones, are not compared"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": -1.0},
        {"timeout_seconds": float("nan")},
        {"grace_seconds": -1.0},
        {"grace_seconds": 1e99},
        {"rows": -1},
        {"rows": 501},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options(**wrong)


def test_only_a_known_psp_has_books() -> None:
    for psp in OPENERS:
        check_psp(psp)
    with pytest.raises(UsageError, match="'paper' has no books here; give stripe"):
        check_psp("paper")

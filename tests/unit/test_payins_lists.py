"""What `purser payins` prints: nothing that an operator has to copy is cut."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from typer.testing import CliRunner

from cli.commands import app
from payins import listing
from payins.evidence import Unrecordable
from payins.letters import DeadLetter, of_fact
from payins.retries import Retry

AT = datetime(2026, 5, 31, 12, tzinfo=UTC)
PAYMENT = UUID("1e4e2c89-2774-599e-bbb3-2692533978ae")
REFERENCE = "re_3wqJdNswHfP05S0123456789abcdefghij"
RETRY = Retry(
    payment_id=PAYMENT, attempt=3, not_before=AT, reason="http_500", first_at=AT, last_at=AT
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("COLUMNS", "80")


def letter(reason: str, amount_minor: int = 100, currency: str = "EUR") -> DeadLetter:
    fact = Unrecordable(
        reason=reason, reference=REFERENCE, amount_minor=amount_minor, currency=currency
    )
    return of_fact(fact, "stripe", PAYMENT, AT)


def test_a_dead_letter_says_what_came_back_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "dead_letters", lambda _: [letter("refund_failed_after_success")])
    ran = CliRunner().invoke(app, ["payins", "dead-letters"])
    assert ran.exit_code == 0
    assert ran.stdout.splitlines() == [
        "2026-05-31T12:00:00+00:00  refund_failed_after_success:"
        f" payment {PAYMENT}, stripe {REFERENCE}",
        "  1.00 EUR: the money of this refund came back and is at the processor; pay the buyer in"
        " another way",
    ]
    assert ran.stderr == "1 dead letter\n"


@pytest.mark.parametrize(
    ("reason", "amount_minor", "currency", "begins"),
    [
        ("failed_after_capture", 2500, "JPY", "2,500 JPY: no event can record it"),
        ("refused_captured", 1, "KWD", "0.001 KWD: no event can record it"),
        ("late_refund_failed", 1, "EUR", "0.01 EUR: money that came late cannot go back"),
        ("no_payment", 1, "EUR", "0.01 EUR: the charge names a payment of ours"),
    ],
)
def test_a_letter_has_its_amount_in_its_currency(
    reason: str, amount_minor: int, currency: str, begins: str
) -> None:
    found = letter(reason, amount_minor, currency)
    assert (found.amount_minor, found.currency) == (amount_minor, currency)
    assert found.detail.startswith(begins)


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (0, "0 payments are tried again\n"),
        (1, "1 payment is tried again\n"),
        (2, "2 payments are tried again\n"),
    ],
)
def test_the_queue_is_counted(monkeypatch: pytest.MonkeyPatch, count: int, last: str) -> None:
    monkeypatch.setattr(listing, "retries", lambda _: [RETRY] * count)
    ran = CliRunner().invoke(app, ["payins", "retries"])
    assert ran.stderr == last
    assert (
        ran.stdout.splitlines()
        == [
            f"{PAYMENT}  http_500, attempt 3, not before 2026-05-31T12:00:00+00:00, since"
            " 2026-05-31T12:00:00+00:00"
        ]
        * count
    )

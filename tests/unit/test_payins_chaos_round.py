"""The judgement of a round of payments in: it sees what must not be."""

from typing import Any

import pytest

from tests.chaos.command import FAILED, INTERRUPTED, status_of
from tests.chaos.payins.outcome import Charged, Outcome
from tests.chaos.payins.plan import CHOICES, HELD, TARGETS, plan
from tests.chaos.payins.rounds import beside


def charge(payment: str | None, intent: str, status: str = "succeeded") -> dict[str, Any]:
    return {"payment_id": payment, "payment_intent": intent, "status": status}


PAID = {"a": {"captured"}, "b": {"failed"}, "c": {"captured", "cancelled"}}
GOOD = [charge("a", "pi_a"), charge("b", "pi_b", "failed"), charge("c", "pi_c")]
KNOWN = {"pi_a", "pi_b", "pi_c"}


def test_charges_and_payments_that_belong_together() -> None:
    found = beside(GOOD, PAID, KNOWN)
    assert (found.wrong(), found.charges) == ({}, 2)


@pytest.mark.parametrize(
    ("charges", "states", "references", "wrong"),
    [
        ([*GOOD, charge("a", "pi_2")], PAID, KNOWN | {"pi_2"}, Charged(twice=["a"])),
        (GOOD, PAID, KNOWN - {"pi_c"}, Charged(without_record=["pi_c"])),
        ([*GOOD, charge("d", "pi_d")], PAID, KNOWN | {"pi_d"}, Charged(without_record=["pi_d"])),
        (GOOD[1:], PAID, KNOWN, Charged(without_charge=["a"])),
        ([charge("a", "pi_a", "failed"), *GOOD[1:]], PAID, KNOWN, Charged(without_charge=["a"])),
    ],
    ids=["twice", "unrecorded", "of no payment", "no charge", "a declined charge is none"],
)
def test_what_must_not_be_is_seen(
    charges: list[dict[str, Any]],
    states: dict[str, set[str]],
    references: set[str],
    wrong: Charged,
) -> None:
    found = beside(charges, states, references)
    assert found.wrong() == wrong.wrong() != {}
    outcome = Outcome(seed=1, rate=1.0, planned=0, charged=found)
    assert len(outcome.failures()) == 1


def test_a_plan_kills_everything_and_is_the_same_for_a_seed() -> None:
    kills = plan(len(CHOICES), seed=5)
    assert {kill.target for kill in kills} == {*TARGETS, *HELD}
    assert kills == plan(len(CHOICES), seed=5)
    assert len(plan(100, seed=5)) == 100
    assert len(plan(2, seed=5)) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"problem": "at kill 1: down"},
        {"lost": 1},
        {"open_requests": {"charge": 2}},
        {"contradictions": ["net is not amount less fee: txn_1"]},
    ],
)
def test_each_kind_of_failure_counts(changed: dict[str, Any]) -> None:
    assert Outcome(seed=1, rate=1.0, planned=0).failures() == []
    assert len(Outcome(seed=1, rate=1.0, planned=0, **changed).failures()) == 1


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        ({}, 0),
        ({"interrupted": True}, INTERRUPTED),
        ({"lost": 1}, FAILED),
        ({"lost": 1, "interrupted": True}, FAILED),
    ],
    ids=["all is well", "interrupted", "lost", "lost before it was interrupted"],
)
def test_the_status_of_a_round(seen: dict[str, Any], status: int) -> None:
    assert status_of(Outcome(seed=1, rate=8.0, planned=20, **seen)) == status

"""Ids: made from what they identify, and refused with the character and its place."""

import pytest

from schemas.errors import InputError
from schemas.ids import MAX_ID_LENGTH, caller_key, check_id, payment_id


def test_payment_id_follows_from_scope_and_key_alone() -> None:
    assert payment_id("payment", "key-1") == payment_id("payment", "key-1")
    assert payment_id("payment", "key-1") != payment_id("payment", "key-2")
    assert payment_id("payment", "key-1") != payment_id("payout", "key-1")


def test_payment_id_never_changes_between_versions() -> None:
    # Stored ids depend on it: a change of the formula would charge every retry again.
    assert str(payment_id("payment", "key-1")) == "b9f5f916-4ef9-55c8-b82d-ed48447cb715"


def test_a_caller_s_key_is_the_caller_s_own() -> None:
    assert caller_key("shop", "k") == caller_key("shop", "k")
    keys = {
        caller_key("shop", "k"), caller_key("shop-2", "k"), caller_key("shop", "k2"),
        caller_key("shop", "k", "capture"), caller_key("shop", "k", "refund"),
        caller_key("shop", "capture", "k"), caller_key("shop\ncapture", "k"),
        caller_key('shop", "capture', "k"),
    }  # fmt: skip
    assert len(keys) == 8
    assert all(check_id("idempotency_key", key) for key in keys)


def test_a_caller_s_key_never_changes_between_versions() -> None:
    # Payments are found again by it.
    assert caller_key("shop", "k", "capture") == "api:218eaf4f-305c-556d-b454-69f9f61e9699"


@pytest.mark.parametrize("value", ["a", "!~", "dept-85", "x" * MAX_ID_LENGTH])
def test_printable_ascii_is_an_id(value: str) -> None:
    assert check_id("order_id", value) == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        ("x" * (MAX_ID_LENGTH + 1), "has 129 characters; at most 128"),
        ("a b", r"U\+0020 at position 2"),
        ("café", r"U\+00E9 at position 4"),
        ("a\x00", r"U\+0000 at position 2"),
        ("line\n", r"U\+000A at position 5"),
        ("x\u202ey", r"U\+202E at position 2"),
    ],
)
def test_anything_else_is_refused_with_its_place(value: str, problem: str) -> None:
    with pytest.raises(InputError, match=rf"^order_id: .*{problem}"):
        check_id("order_id", value)

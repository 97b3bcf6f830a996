"""A new event type that moves money in a known way needs declarations and no code."""

from pathlib import Path
from typing import Any

import pytest

from tests.new_event.tree import (
    DECLARATIONS,
    GENERATED,
    changed_files,
    declare_goodwill,
    run_goodwill,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with the event type."""
    folder = tmp_path_factory.mktemp("goodwill")
    declare_goodwill(folder)
    return folder


@pytest.fixture(scope="module")
def found(tree: Path) -> dict[str, Any]:
    """What the tree makes of one such event: 300 of 1000 captured, 800 of the seller's released."""
    return run_goodwill(tree)


def test_only_declarations_changed(tree: Path, found: dict[str, Any]) -> None:
    assert changed_files(tree) == {name for name, _, _ in DECLARATIONS} | {*GENERATED.values()}
    assert found["tree"] == [str(tree / "schemas")]


def test_the_writer_decides_it(found: dict[str, Any]) -> None:
    # Of the seller's 255 only 50 are still pending; the rest comes out of what is payable.
    assert found["row"] == {
        "amount_minor": 300,
        "commission_minor": 30,
        "logistics_fee_minor": 15,
        "refunded_minor": 300,
        "reserved_minor": 0,
        "pending_minor": 0,
        "available_delta_minor": -205,
    }
    assert found["again"], "the same command again"
    assert found["refused"] == "refund_above_captured"
    assert found["imported"] == ["created", "captured", "goodwill_credited"]


def test_the_state_counts_its_shares(found: dict[str, Any]) -> None:
    assert found["given_back"] == [30, 15]


def test_its_postings_balance(found: dict[str, Any]) -> None:
    assert found["dead_letters"] == []
    assert found["postings"] == [
        ["psp_receivable", -300],
        ["seller_pending", 50],
        ["seller_available", 205],
        ["platform_commission", 30],
        ["platform_logistics", 15],
    ]


def test_the_totals_count_it(found: dict[str, Any]) -> None:
    totals = found["totals"]
    assert (totals["gross_minor"], totals["refunds_minor"], totals["net_minor"]) == (1000, 300, 595)
    assert (totals["capture_count"], totals["refund_count"], totals["chargeback_count"]) == (
        1,
        1,
        0,
    )
    assert (totals["commission_minor"], totals["available_delta_minor"]) == (70, 595)


def test_clickhouse_and_verify_ask_about_it(found: dict[str, Any]) -> None:
    assert all(found["asked_about"])

"""The guards that are generated for a new event type judge its rows, without a change of theirs."""

from pathlib import Path

import pytest

from tests.integration.postgres.database import Database
from tests.new_event.tree import declare_goodwill, run_goodwill

pytestmark = pytest.mark.integration


def test_the_guards_know_a_declared_event(empty_database: Database, tmp_path: Path) -> None:
    declare_goodwill(tmp_path)
    found = run_goodwill(tmp_path, empty_database.owner, empty_database.writer)
    assert found["refused"] == {
        "refunded_minor": "refunded_minor",
        "reserved_minor": "reserved_minor",
        "pending_minor": "pending_minor",
        # One more of commission is one less for the seller, of whom pending has none left to take.
        "commission_minor": "available_delta_minor",
        "amount_minor": "refunded_minor",
    }
    assert found["stored"] == ["created", "captured", "released", "goodwill_credited"]

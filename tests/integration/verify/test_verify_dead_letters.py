"""An event that was parked is a gap until it is redriven, and none afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operations.verify import Verdict
from schemas.events import SCHEMA_VERSION
from tests.integration.verify.world import World, append, finding, marketplace
from tests.integration.views.newer_code import VERSIONS_AHEAD

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
NEWER = "tests.integration.views.newer_code"


def redrive(world: World, *program: str) -> int:
    """Exit status of `purser dead-letters redrive --all`."""
    answer = subprocess.run(
        [sys.executable, "-m", *program, "dead-letters", "redrive", "--all"],
        cwd=ROOT,
        env=os.environ | {"PURSER_CLICKHOUSE_URL": world.clickhouse_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert b"Traceback" not in answer.stderr, answer.stderr
    return answer.returncode


def test_a_parked_event_is_missing_until_it_is_redriven(new_world: World) -> None:
    transactions = marketplace(payments=10, seed=3)
    parked = transactions[4][1]
    parked["schema_version"] = SCHEMA_VERSION + VERSIONS_AHEAD
    append(new_world.database.writer, transactions)
    new_world.pump.parks = True
    new_world.pump.pump()

    report = new_world.verify()
    assert report.exit_status == 1, report.to_json()
    assert report.dead_letters == 1
    found = finding(report, "payment_events")
    assert found.problem == "missing"
    assert found.where == {"payment_id": str(parked["payment_id"]), "seq": parked["seq"]}
    assert "in the dead letters: purser.public.payments/" in found.note
    assert found.note.endswith(", newer_schema_version")

    # Trying is no cure.
    assert redrive(new_world, "cli.main") == 1
    assert new_world.verify().dead_letters == 1

    assert redrive(new_world, NEWER, "cli.main") == 0
    report = new_world.verify()
    assert report.exit_status == 0, report.to_json()
    assert report.dead_letters == 0
    assert all(check.verdict is Verdict.EQUAL for check in report.checks)

    # Redriven, and lost again by somebody's hand: the letter is where it can be had from.
    new_world.remove("payment_events", f"seq = {parked['seq']} AND {_payment(parked)}")
    found = finding(new_world.verify(), "payment_events")
    assert found.note.endswith(", newer_schema_version, redriven, but gone since")


def test_a_redriven_record_tells_nothing_of_its_payment_s_later_events(new_world: World) -> None:
    """It does not say which event it was; while it is open, any one that is missing may be it."""
    append(new_world.database.writer, marketplace(payments=3, seed=4))
    total = new_world.pump.pump(limit=8)
    assert total == 8
    payment_id, partition = new_world.client.query(
        "SELECT payment_id, kafka_partition FROM payment_events_raw"
        " ORDER BY recorded_at DESC, seq DESC"
    ).result_rows[0]
    new_world.run(
        "INSERT INTO dead_letters_raw SELECT 'purser.public.payments', "
        f"{partition}, 10000, 'malformed_record', 'cut off', '{{\"payment_id\":\"{payment_id}\"}}',"
        " '{\"after\":{', false, now64(3), 'purser-views', now64(6)"
    )
    report = new_world.verify(timeout=1.0)
    assert report.exit_status == 1, report.to_json()
    assert "in the dead letters" in finding(report, "payment_events").note
    new_world.run(
        "INSERT INTO dead_letter_redrives_raw"
        " SELECT topic, partition, kafka_offset, now64(6), 'Ann', parked_at,"
        " 'redriven', '', '', NULL, 0, 1 FROM dead_letters_raw"
    )
    report = new_world.verify(timeout=1.0)
    assert report.exit_status == 2, report.to_json()
    assert report.reason.startswith("lagging:")


def _payment(row: dict[str, object]) -> str:
    return f"payment_id = '{row['payment_id']}'"

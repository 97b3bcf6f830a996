"""Views rebuilt from PostgreSQL: their rows have no position, so they are no evidence of one."""

import pytest

from operations.verify import Report
from tests.integration.verify.world import PARTITIONS, World, append, marketplace

pytestmark = pytest.mark.integration

# What `operations.replay.snapshot` leaves in these columns.
REBUILT = (
    "toUInt32(0) AS kafka_partition, toUInt64(0) AS kafka_offset, toUInt32(0) AS txid,"
    " toUInt64(0) AS lsn, 'r' AS op"
)
# As if the topic had sent the rows again, much later.
STREAMED = (
    "toUInt32({partition}) AS kafka_partition, toUInt64(10000) AS kafka_offset, toUInt64(1) AS lsn,"
    " 'c' AS op, committed_at + INTERVAL 1 HOUR AS committed_at"
)


@pytest.fixture
def rebuilt(new_world: World) -> World:
    """A rebuilt marketplace whose worker stopped before the last event of an existing payment."""
    append(new_world.database.writer, marketplace(payments=12, seed=4))
    events = new_world.pump.pump()
    new_world.clear()
    assert new_world.pump.pump(limit=events - 1) == events - 1
    new_world.move("payment_events", REBUILT, "1")
    return new_world


def problems(report: Report) -> list[str]:
    """What was found about the events."""
    [events] = [check for check in report.checks if check.name == "payment_events"]
    return [found.problem for found in events.findings]


def test_an_event_on_its_way_is_late_though_no_row_has_its_partitions_offsets(
    rebuilt: World,
) -> None:
    report = rebuilt.verify(timeout=1.0)
    assert report.exit_status == 2, report.to_json()
    assert problems(report) == ["late"]
    rebuilt.pump.pump()
    assert rebuilt.verify().exit_status == 0


def test_an_event_that_later_ones_of_its_payment_have_overtaken_is_lost(rebuilt: World) -> None:
    rebuilt.pump.pump()
    rebuilt.remove("payment_events", "event_type = 'submitted'")
    report = rebuilt.verify(timeout=1.0)
    assert report.exit_status == 1, report.to_json()
    assert problems(report) == ["missing"]


def test_an_event_is_lost_when_every_partition_it_may_be_in_is_past_it(rebuilt: World) -> None:
    payments = rebuilt.client.query(
        "SELECT DISTINCT toString(payment_id) FROM payment_events_raw"
        f" WHERE direction = 'in' ORDER BY payment_id LIMIT {PARTITIONS}"
    ).result_rows
    for partition, (payment_id,) in enumerate(payments):
        assert problems(rebuilt.verify(timeout=0.5)) == ["late"], f"before partition {partition}"
        streamed = STREAMED.format(partition=partition)
        rebuilt.replace("payment_events", streamed, f"payment_id = '{payment_id}'")
    report = rebuilt.verify(timeout=0.5)
    assert report.exit_status == 1, report.to_json()
    assert problems(report) == ["missing"]

"""A redriven record leaves the views as if it had never failed, however often and whoever dies."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest

from operations.dead_letters import DeadLetters, Outcome, redrive
from operations.dead_letters import letter as reading
from schemas.views import (
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    SELLER_REVENUE,
    PaymentEventRow,
    SellerRevenueRow,
)
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings
from streams.decode import Record
from streams.fold import fold_batch
from tests.events import PAYMENT_ID, key_of, raw_record, records
from tests.integration.dead_letters.support import (
    OLD_REASON,
    PARKED_AT,
    Parked,
    as_if_never_failed,
    purser,
)
from tests.strategies import history

pytestmark = pytest.mark.integration

HISTORY = records(history(Random(11), payments=25, payouts=6, steps=20))
DEAD = HISTORY[::7]
ALIVE = [record for record in HISTORY if record not in DEAD]
HOUR = timedelta(hours=1)
NEVER = [
    raw_record(b'{"op": "c", "after": {', partition=1, offset=900_001),
    raw_record(None, partition=2, offset=900_002),
]


def position(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


@pytest.fixture
def missing(parked: Parked) -> Parked:
    """Views without the dead seventh of a history, which is parked."""
    parked.flow(ALIVE)
    parked.park(DEAD)
    return parked


def test_the_views_are_as_if_the_records_had_never_failed(missing: Parked) -> None:
    assert missing.views() != as_if_never_failed(HISTORY)
    answer = purser("redrive", "--all")
    assert answer.status == 0, answer
    assert missing.views() == as_if_never_failed(HISTORY)
    assert set(missing.states().values()) == {"redriven"}


def test_it_is_noted_who_redrove_what_and_what_came_of_it(missing: Parked) -> None:
    missing.flow(NEVER)
    assert purser("redrive", "--all", "--by", "Ann of operations").status == 1
    notes = {note["kafka_offset"]: note for note in missing.notes() if note["partition"] == 1}
    dead = notes.pop(900_001)
    assert (dead["outcome"], dead["reason"]) == ("still_dead", "malformed_record")
    assert dead["error"]
    assert (dead["payment_id"], dead["seq"], dead["row_count"]) == (None, 0, 0)
    rows = [PaymentEventRow(*row) for row in missing.rows(PAYMENT_EVENTS)]
    events = {row.kafka_offset: row for row in rows if row.kafka_partition == 1}
    assert notes.keys() == {record.offset for record in DEAD if record.partition == 1}
    for offset, note in notes.items():
        assert (note["outcome"], note["reason"], note["error"]) == ("redriven", "", "")
        assert (note["payment_id"], note["seq"]) == events[offset][:2]
        assert note["row_count"] >= 2
        assert note["redriven_by"] == "Ann of operations"
        assert note["parked_at"].replace(tzinfo=PARKED_AT.tzinfo) == PARKED_AT


def test_what_no_code_can_fold_stays_open(missing: Parked) -> None:
    missing.flow(NEVER)
    answer = purser("redrive", "--all")
    assert answer.status == 1
    assert "2 of them still cannot be folded: 1 malformed_record, 1 null_record" in answer.text
    assert f"{position(NEVER[1])}  null_record: the record has no value" in answer.text
    assert f"{len(DEAD)} redriven" in answer.text
    assert "2 are still dead" in answer.text
    still_open = {where for where, state in missing.states().items() if state == "open"}
    assert still_open == {position(record) for record in NEVER}
    assert purser("redrive", "--all").status == 1
    assert missing.views() == as_if_never_failed(HISTORY)


@pytest.mark.parametrize("whole", [["--all"], [position(record) for record in DEAD]])
def test_a_dry_run_says_what_would_change_and_changes_nothing(
    missing: Parked, whole: Sequence[str]
) -> None:
    before = missing.views()
    answer = purser("redrive", *whole, "--dry-run", "--json")
    assert answer.status == 0
    assert answer.json["outcome"] is None
    assert missing.views() == before
    assert not missing.notes()
    assert set(missing.states().values()) == {"open"}

    plan = answer.json["plan"]
    assert purser("redrive", *whole).status == 0
    after = missing.views()
    assert sum(plan["events"].values()) == len(DEAD)
    for name, change in plan["tables"].items():
        new = [row for row in after[name] if row not in before[name]]
        assert change["new"] == len(new), name
        assert change["rows"] >= change["new"]
    totals = {row[:3]: SellerRevenueRow(*row) for row in before[SELLER_REVENUE.name]}
    expected = {}
    for row in (SellerRevenueRow(*row) for row in after[SELLER_REVENUE.name]):
        old = totals.get(row[:3])
        if row != old:
            expected[row.seller_id, row.currency, row.day.isoformat()] = (
                row.gross_minor - (old.gross_minor if old else 0),
                row.refunds_minor - (old.refunds_minor if old else 0),
                row.chargebacks_minor - (old.chargebacks_minor if old else 0),
                row.net_minor - (old.net_minor if old else 0),
            )
    assert expected == {
        (each["seller_id"], each["currency"], each["day"]): (
            each["gross_minor"],
            each["refunds_minor"],
            each["chargebacks_minor"],
            each["net_minor"],
        )
        for each in plan["revenue"]
    }


def test_twice_changes_no_view_and_says_so(missing: Parked) -> None:
    purser("redrive", "--all")
    views = missing.views()
    where = position(DEAD[0])
    answer = purser("redrive", where)
    assert answer.status == 0
    assert "1 dead letter, 1 of them redriven before" in answer.text
    assert "the views already have all of this; nothing would change" in answer.text
    assert missing.views() == views
    assert [note["outcome"] for note in missing.notes()].count("redriven") == len(DEAD) + 1
    assert len(purser("show", where, "--json").json["redrives"]) == 2


def test_only_what_is_asked_for_is_redriven(missing: Parked) -> None:
    other = missing.park(DEAD[:2], reason="newer_schema_version", parked_at=PARKED_AT + HOUR)
    assert purser("redrive", "--reason", "newer_schema_version").status == 0
    assert {where for where, state in missing.states().items() if state == "redriven"} == {*other}
    wanted = [position(DEAD[4]), position(DEAD[3]), position(DEAD[4])]
    answer = purser("redrive", *wanted, "--json")
    assert answer.json["outcome"]["redriven"] == 2
    redriven = {where for where, state in missing.states().items() if state == "redriven"}
    assert redriven == {*other, *wanted}
    assert purser("redrive", "--reason", OLD_REASON, "--json").json["plan"]["records"] == (
        len(DEAD) - 4
    )


def test_parked_once_more_is_open_once_more(missing: Parked) -> None:
    purser("redrive", "--all")
    missing.park(DEAD[:1])  # redelivered within the same flush: the same row
    assert set(missing.states().values()) == {"redriven"}
    [where] = missing.park(DEAD[:1], parked_at=PARKED_AT + HOUR)
    assert missing.states()[where] == "open"
    assert purser("redrive", "--all", "--json").json["plan"]["records"] == 1
    assert set(missing.states().values()) == {"redriven"}
    assert missing.views() == as_if_never_failed(HISTORY)


def test_many_are_done_in_parts_and_counted_as_one(
    missing: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = purser("redrive", "--all", "--dry-run", "--json").json["plan"]
    monkeypatch.setattr(reading, "CHUNK_RECORDS_MAX", 3)
    assert purser("redrive", "--all", "--dry-run", "--json").json["plan"] == whole
    assert purser("redrive", "--all").status == 0
    assert missing.views() == as_if_never_failed(HISTORY)
    assert len({note["redriven_at"] for note in missing.notes()}) == -(-len(DEAD) // 3)


def test_a_record_that_clickhouse_refuses_does_not_hold_up_the_others(missing: Parked) -> None:
    refused = DEAD[3]
    condition = f"NOT (kafka_partition = {refused.partition} AND kafka_offset = {refused.offset})"
    missing.client.command(f"ALTER TABLE payment_events_raw ADD CONSTRAINT test CHECK {condition}")
    answer = purser("redrive", "--all", "--json")
    assert answer.status == 1
    assert answer.json["outcome"]["dead"] == {"write_refused": 1}
    assert answer.json["outcome"]["redriven"] == len(DEAD) - 1
    assert position(refused) in answer.json["outcome"]["refused"][0]
    still_open = [where for where, state in missing.states().items() if state == "open"]
    assert still_open == [position(refused)]
    missing.client.command("ALTER TABLE payment_events_raw DROP CONSTRAINT test")
    assert purser("redrive", "--all").status == 0
    assert missing.views() == as_if_never_failed(HISTORY)


def test_an_event_parked_at_two_offsets_is_one_event(parked: Parked) -> None:
    """Debezium may emit an event again; the copy with the higher offset is the one that counts."""
    [once] = HISTORY[:1]
    again = once._replace(offset=once.offset + 500)
    parked.park([once, again])
    answer = purser("redrive", "--all", "--json")
    assert answer.json["plan"]["tables"]["payment_events"] == {"rows": 1, "new": 1}
    assert parked.views() == as_if_never_failed([once, again])


def test_two_operators_at_once_do_it_once(missing: Parked) -> None:
    settings = ClickHouseSettings.load(missing.url)
    failed: list[BaseException] = []

    def operator(by: str) -> None:
        sink = ClickHouseSink(settings)
        try:
            with DeadLetters(settings) as letters:
                redrive(
                    letters,
                    sink,
                    letters.open_ones(),
                    by=by,
                    outcome=Outcome(),
                    on_progress=lambda _what, _done, _total: None,
                )
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        finally:
            sink.close()

    threads = [threading.Thread(target=operator, args=(name,)) for name in ("Ann", "Ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert missing.views() == as_if_never_failed(HISTORY)
    assert set(missing.states().values()) == {"redriven"}


def test_a_record_comes_back_byte_for_byte(parked: Parked) -> None:
    raw = bytes(range(256)) * 40
    odd = Record("purser.public.payments", 3, 2**40, -1, b"\xff\x00", raw)
    empty = raw_record(b"", key=key_of(PAYMENT_ID), partition=3, offset=1)
    parked.flow([odd, empty, NEVER[1]])
    where = position(odd)
    assert purser("show", where, "--raw").output == raw
    assert purser("show", where, "--raw-key").output == b"\xff\x00"
    assert purser("show", position(empty), "--raw").output == b""
    null = purser("show", position(NEVER[1]), "--raw")
    assert null.output == b""
    assert "no value" in null.errors


def test_ledger_entries_are_not_counted_as_new_twice(missing: Parked) -> None:
    """A redrive that died between the entries and the events finds the entries there."""
    batch = fold_batch(DEAD, consumer="x", parked_at=PARKED_AT)
    missing.sink.write({LEDGER_ENTRIES: batch.columns[LEDGER_ENTRIES]})
    plan = purser("redrive", "--all", "--dry-run", "--json").json["plan"]
    assert plan["tables"]["ledger_entries"]["new"] == 0
    assert plan["tables"]["payment_events"]["new"] == len(DEAD)
    assert plan["revenue"] == []

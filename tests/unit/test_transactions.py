"""What a hanging transaction is, told from the coordinator's log."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.admin import TransactionDescription, TransactionState

from connectors.debezium.hanging_transactions import OpenTransaction, in_progress
from connectors.debezium.transaction_log import LogRecord, decisions, read_record

EMPTY, ONGOING, PREPARE_COMMIT, PREPARE_ABORT, COMMITTED, ABORTED = range(6)
ID = "purser-connect-purser-payments-0"
P, Q = TopicPartition("payments", 0), TopicPartition("offsets", 300)


def _record(
    epoch: int, status: int, *partitions: TopicPartition, producer: int = 1, name: str = ID
) -> LogRecord:
    return LogRecord(
        transactional_id=name,
        producer_id=producer,
        producer_epoch=epoch,
        status=status,
        partitions=frozenset(partitions),
    )


def _key(name: str = ID, version: int = 0) -> bytes:
    return struct.pack(">hh", version, len(name)) + name.encode()


def _value(version: int, behind: bytes, status: int = ONGOING) -> bytes:
    return struct.pack(">hqhib", version, 7, 32_767, 10_000, status) + behind + bytes(16)


# As Kafka writes them: payments-0 and -3, offsets-300, with fixed lengths and with compact ones.
FIXED = bytes.fromhex(
    "00000002 0008 7061796d656e7473 00000002 00000000 000000030007 6f666673657473 00000001 0000012c"
)
COMPACT = bytes.fromhex(
    "03 09 7061796d656e7473 03 00000000 00000003 00 08 6f666673657473 02 0000012c 00"
)


@pytest.mark.parametrize(("version", "behind"), [(0, FIXED), (1, COMPACT)])
def test_records_of_the_log_are_read(version: int, behind: bytes) -> None:
    assert read_record(_key(), _value(version, behind)) == _record(
        32_767, ONGOING, P, TopicPartition("payments", 3), Q, producer=7
    )


@pytest.mark.parametrize(("version", "nothing"), [(0, b"\xff\xff\xff\xff"), (1, b"\0"), (1, b"\1")])
def test_complete_transactions_have_no_partitions(version: int, nothing: bytes) -> None:
    assert read_record(_key(), _value(version, nothing, COMMITTED)) == _record(
        32_767, COMMITTED, producer=7
    )


def test_long_lengths_are_read() -> None:
    topic = b"t" * 249
    behind = b"\x02\xfa\x01" + topic + b"\x02\0\0\0\5\0"
    found = read_record(_key(), _value(1, behind))
    assert found is not None
    assert found.partitions == {TopicPartition(topic.decode(), 5)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b""),
        (b"", _value(1, COMPACT)),
        (_key(), None),  # the id has expired
        (_key(), b"\0\1"),
        (_key(), _value(1, COMPACT)[:30]),
        (_key(version=1), _value(1, COMPACT)),
        (_key(), _value(2, COMPACT)),
        (struct.pack(">hh", 0, 1) + b"\xff", _value(1, COMPACT)),
    ],
)
def test_what_is_no_state_of_a_transaction_is_passed_over(
    key: bytes | None, value: bytes | None
) -> None:
    assert read_record(key, value) is None


def test_decisions_are_about_the_last_that_was_ongoing() -> None:
    log = [
        _record(5, ONGOING, P),
        _record(5, ONGOING, P, Q),
        _record(6, PREPARE_COMMIT, P, Q),
        _record(6, COMMITTED),
        _record(6, ONGOING, Q),
        _record(7, PREPARE_ABORT, Q),
        _record(7, ABORTED),
        _record(8, EMPTY),
        _record(8, ONGOING, P),
        _record(9, PREPARE_COMMIT, P),  # and the markers have not been written yet
    ]
    found = decisions(log)
    assert found.decided == {(P, 1, 5): True, (Q, 1, 5): True, (Q, 1, 6): False}
    assert found.undecided == {(P, 1, 8)}


def test_an_old_clients_transactions_share_a_name_and_differ_by_partition() -> None:
    log = [
        _record(5, ONGOING, P),
        _record(5, COMMITTED),
        _record(5, ONGOING, Q),
        _record(5, ABORTED),
    ]
    assert decisions(log).decided == {(P, 1, 5): True, (Q, 1, 5): False}


def test_a_former_decision_is_not_about_what_goes_on_under_its_name() -> None:
    log = [_record(5, ONGOING, P), _record(5, COMMITTED), _record(5, ONGOING, P)]
    found = decisions(log)
    assert (found.decided, found.undecided) == ({}, {(P, 1, 5)})


def test_decisions_survive_the_change_to_another_producer_id() -> None:
    log = [
        _record(32_766, ONGOING, P),
        _record(32_767, PREPARE_COMMIT, P),
        _record(0, COMMITTED, producer=2),
    ]
    assert decisions(log).decided == {(P, 1, 32_766): True}


@pytest.mark.parametrize("later", [_record(9, COMMITTED), _record(3, COMMITTED, producer=2)])
def test_what_compaction_has_taken_away_is_not_guessed(later: LogRecord) -> None:
    assert decisions([_record(5, ONGOING, P), later]).decided == {}


@given(st.permutations(range(6)))
def test_ids_do_not_disturb_each_other(order: list[int]) -> None:
    steps = {
        name: iter(
            [
                _record(1, ONGOING, P, producer=number, name=name),
                _record(2, PREPARE_COMMIT, P, producer=number, name=name),
                _record(2, COMMITTED if name == "a" else ABORTED, producer=number, name=name),
            ]
        )
        for number, name in enumerate("ab")
    }
    log = [next(steps["ab"[each % 2]]) for each in order]
    assert decisions(log).decided == {(P, 0, 1): True, (P, 1, 1): False}


def _described(state: TransactionState, epoch: int, producer: int = 1) -> TransactionDescription:
    return TransactionDescription(
        coordinator_id=1,
        state=state,
        producer_id=producer,
        producer_epoch=epoch,
        transaction_timeout_ms=10_000,
        transaction_start_time_ms=0,
        topic_partitions=set(),
    )


@pytest.mark.parametrize(
    ("described", "working"),
    [
        ([], False),
        ([_described(TransactionState.ONGOING, 5)], True),
        ([_described(TransactionState.PREPARE_COMMIT, 6)], True),
        ([_described(TransactionState.PREPARE_ABORT, 5)], True),
        ([_described(TransactionState.PREPARE_EPOCH_FENCE, 6)], True),
        ([_described(TransactionState.EMPTY, 5)], False),
        ([_described(TransactionState.COMPLETE_COMMIT, 6)], False),
        ([_described(TransactionState.COMPLETE_ABORT, 6)], False),
        ([_described(TransactionState.ONGOING, 6)], False),  # the next one
        ([_described(TransactionState.ONGOING, 4)], False),
        ([_described(TransactionState.ONGOING, 5, producer=2)], False),
        ([_described(TransactionState.EMPTY, 7), _described(TransactionState.ONGOING, 5)], True),
    ],
)
def test_a_coordinator_at_work_is_left_alone(
    described: list[TransactionDescription], working: bool
) -> None:
    transaction = OpenTransaction(
        partition=TopicPartition("payments", 0),
        producer_id=1,
        producer_epoch=5,
        coordinator_epoch=0,
        start_offset=10,
    )
    assert in_progress(transaction, described) is working

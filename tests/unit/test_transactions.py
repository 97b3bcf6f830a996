"""What a hanging transaction is, told from the coordinator's log."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.admin import TransactionDescription, TransactionState

from connectors.debezium.transactions import (
    LogRecord,
    OpenTransaction,
    decisions,
    in_progress,
    read_record,
)

EMPTY, ONGOING, PREPARE_COMMIT, PREPARE_ABORT, COMMITTED, ABORTED = range(6)
ID = "purser-connect-purser-payments-0"


def _record(epoch: int, status: int, producer: int = 1, name: str = ID) -> LogRecord:
    return LogRecord(
        transactional_id=name, producer_id=producer, producer_epoch=epoch, status=status
    )


def _value(version: int, producer: int, epoch: int, status: int) -> bytes:
    return struct.pack(">hqhib", version, producer, epoch, 10_000, status) + b"\0partitions"


@pytest.mark.parametrize("version", [0, 1])
def test_records_of_the_log_are_read(version: int) -> None:
    key = struct.pack(">hh", 0, len(ID)) + ID.encode()
    assert read_record(key, _value(version, 7, 32_767, COMMITTED)) == _record(32_767, COMMITTED, 7)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b""),
        (b"", _value(1, 1, 1, 1)),
        (struct.pack(">hh", 0, 1) + b"a", None),  # the id has expired
        (struct.pack(">hh", 0, 1) + b"a", b"\0\1"),
        (struct.pack(">hh", 1, 1) + b"a", _value(1, 1, 1, 1)),
        (struct.pack(">hh", 0, 1) + b"a", _value(2, 1, 1, 1)),
    ],
)
def test_what_is_no_state_of_a_transaction_is_passed_over(
    key: bytes | None, value: bytes | None
) -> None:
    assert read_record(key, value) is None


def test_decisions_are_about_the_last_that_was_ongoing() -> None:
    log = [
        _record(5, ONGOING),
        _record(5, ONGOING),  # a partition more
        _record(6, PREPARE_COMMIT),
        _record(6, COMMITTED),
        _record(6, ONGOING),
        _record(7, PREPARE_ABORT),
        _record(7, ABORTED),
        _record(8, EMPTY),
        _record(8, ONGOING),
        _record(9, PREPARE_COMMIT),  # and the markers have not been written yet
    ]
    assert decisions(log) == {(1, 5): True, (1, 6): False}


def test_decisions_of_older_clients_keep_their_epoch() -> None:
    log = [_record(5, ONGOING), _record(5, COMMITTED), _record(5, ONGOING), _record(5, ABORTED)]
    assert decisions(log) == {(1, 5): False}


def test_decisions_survive_the_change_to_another_producer_id() -> None:
    log = [_record(32_766, ONGOING), _record(32_767, PREPARE_COMMIT), _record(0, COMMITTED, 2)]
    assert decisions(log) == {(1, 32_766): True}


@given(st.permutations(range(6)))
def test_ids_do_not_disturb_each_other(order: list[int]) -> None:
    steps = {
        name: iter([_record(1, ONGOING, number, name), _record(2, PREPARE_COMMIT, number, name)])
        for number, name in enumerate("ab")
    }
    ends = {"a": _record(2, COMMITTED, 0, "a"), "b": _record(2, ABORTED, 1, "b")}
    log = [next(steps[name], ends[name]) for name in ("ab"[each % 2] for each in order)]
    assert decisions(log) == {(0, 1): True, (1, 1): False}


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

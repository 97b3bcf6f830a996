"""The tracker: a commit never passes what is not acknowledged, whatever the order of things."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.transport.offsets import Delivery, OffsetTracker


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> OffsetTracker[str]:
    return OffsetTracker(clock=clock)


def deliver(
    tracker: OffsetTracker[str], first: int, last: int, partition: str = "p"
) -> Delivery[str]:
    return tracker.deliver(
        partition,
        offset_first=first,
        offset_last=last,
        record_count=last - first + 1,
        byte_count=100 * (last - first + 1),
    )


def test_nothing_is_committable_before_an_acknowledgement(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    deliver(tracker, 0, 9)
    assert tracker.committable("p") is None


def test_acknowledged_batch_is_committable_up_to_its_end(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    assert tracker.acknowledge(deliver(tracker, 0, 9))
    assert tracker.committable("p") == 10


def test_later_batch_waits_for_the_one_in_flight_before_it(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    early, late = deliver(tracker, 0, 9), deliver(tracker, 10, 19)
    tracker.acknowledge(late)
    assert tracker.committable("p") is None
    tracker.acknowledge(early)
    assert tracker.committable("p") == 20


def test_gaps_of_transaction_markers_do_not_hold_back_the_commit(
    tracker: OffsetTracker[str],
) -> None:
    tracker.start("p", 5)
    early, late = deliver(tracker, 6, 9), deliver(tracker, 31, 40)
    tracker.acknowledge(early)
    tracker.acknowledge(late)
    assert tracker.committable("p") == 41


def test_committed_offset_is_not_named_again(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    tracker.acknowledge(deliver(tracker, 0, 9))
    tracker.committed("p", 10)
    assert tracker.committable("p") is None


def test_failed_commit_is_named_again(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    tracker.acknowledge(deliver(tracker, 0, 9))
    assert tracker.committable("p") == tracker.committable("p") == 10


def test_acknowledging_twice_changes_nothing(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    delivery = deliver(tracker, 0, 9)
    deliver(tracker, 10, 19)
    assert tracker.acknowledge(delivery)
    assert not tracker.acknowledge(delivery)
    assert tracker.records_in_flight == 10


def test_acknowledgement_from_before_a_restart_is_void(tracker: OffsetTracker[str]) -> None:
    """The same offsets are fetched again: the old acknowledgement must not count for the new."""
    tracker.start("p", None)
    before = deliver(tracker, 0, 9)
    tracker.start("p", None)
    again = deliver(tracker, 0, 9)
    assert not tracker.acknowledge(before)
    assert tracker.committable("p") is None
    assert tracker.acknowledge(again)
    assert tracker.committable("p") == 10


def test_forgotten_partition_commits_nothing_and_holds_nothing(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    delivery = deliver(tracker, 0, 9)
    tracker.forget(["p", "never started"])
    assert not tracker.acknowledge(delivery)
    assert tracker.committable("p") is None
    assert (tracker.records_in_flight, tracker.bytes_in_flight) == (0, 0)
    with pytest.raises(KeyError):
        deliver(tracker, 0, 9)


def test_position_that_went_back_caps_the_commit(tracker: OffsetTracker[str]) -> None:
    tracker.start("p", None)
    high, low = deliver(tracker, 50, 59), deliver(tracker, 0, 9)
    tracker.acknowledge(high)
    assert tracker.committable("p") == 0
    tracker.acknowledge(low)
    assert tracker.committable("p") == 60


def test_in_flight_is_counted_until_acknowledged(tracker: OffsetTracker[str], clock: Clock) -> None:
    tracker.start("p", None)
    tracker.start("q", None)
    early = deliver(tracker, 0, 9)
    clock.seconds = 2.0
    late = deliver(tracker, 10, 14)
    deliver(tracker, 0, 0, "q")
    clock.seconds = 5.0
    assert tracker.seconds_unacknowledged() == 5.0
    tracker.acknowledge(late)
    assert tracker.batches_in_flight("p") == 2  # the late one waits for the early one
    assert (tracker.records_in_flight, tracker.bytes_in_flight) == (11, 1100)
    assert tracker.next_offset("p") == 0
    tracker.acknowledge(early)
    assert tracker.next_offset("p") == 15
    assert tracker.seconds_unacknowledged() == 3.0
    assert sorted(tracker.partitions()) == ["p", "q"]


@dataclass
class Log:
    """A partition as the broker has it, and a consumer's place in it; `done` is the sink's."""

    ends: list[int]  # last offsets of the batches; what lies between is markers
    committed: int | None = None
    ours: bool = False
    position: int = 0
    live: list[Delivery[int]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)

    def records(self) -> list[int]:
        """Offsets of all records: of each ten, the last is a transaction marker."""
        return [offset for offset in range(self.ends[-1] + 1) if offset % 10 != 9]


class LedgerMachine(RuleBasedStateMachine):
    """Fetches, acknowledgements in any order, commits, revocations, seeks: interleaved at random.

    Two partitions with gaps; other workers may take a partition, work on it and lose it again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tracker: OffsetTracker[int] = OffsetTracker(clock=lambda: 0.0)
        self.logs = {number: Log(ends=[199]) for number in range(2)}
        self.handed_out: list[Delivery[int]] = []
        self.asked: list[tuple[int, int]] = []  # commits computed and not sent yet

    @rule(number=st.integers(0, 1))
    def assign(self, number: int) -> None:
        log = self.logs[number]
        log.ours, log.live = True, []
        log.position = log.committed or 0
        self.tracker.start(number, log.committed)

    @rule(number=st.integers(0, 1), other_records=st.integers(0, 30))
    def revoke(self, number: int, other_records: int) -> None:
        """Lost to another worker, which does some records and commits them."""
        log = self.logs[number]
        log.ours, log.live = False, []
        self.tracker.forget([number])
        self.asked = [each for each in self.asked if each[0] != number]
        start = log.committed or 0
        theirs = [offset for offset in log.records() if offset >= start][:other_records]
        if theirs:
            log.done.update(theirs)
            log.committed = theirs[-1] + 1

    @rule(number=st.integers(0, 1), records=st.integers(1, 25))
    def fetch(self, number: int, records: int) -> None:
        log = self.logs[number]
        batch = [offset for offset in log.records() if offset >= log.position][:records]
        if not log.ours or not batch:
            return
        delivery = self.tracker.deliver(
            number,
            offset_first=batch[0],
            offset_last=batch[-1],
            record_count=len(batch),
            byte_count=10 * len(batch),
        )
        log.position = batch[-1] + 1
        log.live.append(delivery)
        self.handed_out.append(delivery)

    @rule(number=st.integers(0, 1), back=st.integers(0, 60))
    def position_goes_back_by_itself(self, number: int, back: int) -> None:
        log = self.logs[number]
        log.position = max(0, log.position - back)

    @precondition(lambda self: self.handed_out)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Any delivery, old ones too: their records were really written, then or now."""
        delivery = data.draw(st.sampled_from(self.handed_out))
        log = self.logs[delivery.partition]
        covered = range(delivery.offset_first, delivery.offset_last + 1)
        log.done.update(offset for offset in covered if offset % 10 != 9)
        news = self.tracker.acknowledge(delivery)
        assert news == (delivery in log.live)
        if news:
            log.live.remove(delivery)

    @rule(number=st.integers(0, 1))
    def compute_commit(self, number: int) -> None:
        offset = self.tracker.committable(number)
        if offset is not None:
            self.asked.append((number, offset))

    @precondition(lambda self: self.asked)
    @rule(stored=st.booleans())
    def commit_comes_back(self, stored: bool) -> None:
        number, offset = self.asked.pop(0)
        log = self.logs[number]
        # What the consumer does before it sends: the offset must still be the one to commit.
        if not stored or self.tracker.committable(number) != offset:
            return
        assert log.committed is None or offset > log.committed, "the committed offset goes back"
        log.committed = offset
        self.tracker.committed(number, offset)

    @invariant()
    def nothing_below_the_committed_offset_is_undone(self) -> None:
        for log in self.logs.values():
            lost = [
                each
                for each in log.records()
                if each < (log.committed or 0) and each not in log.done
            ]
            assert not lost

    @invariant()
    def committable_is_at_most_the_first_unacknowledged(self) -> None:
        for number, log in self.logs.items():
            offset = self.tracker.committable(number)
            if offset is not None:
                assert log.ours
                assert all(offset <= each.offset_first for each in log.live)

    @invariant()
    def in_flight_is_what_was_handed_out_and_not_acknowledged(self) -> None:
        live = [each for log in self.logs.values() for each in log.live]
        assert self.tracker.records_in_flight == sum(each.record_count for each in live)
        assert self.tracker.bytes_in_flight == sum(each.byte_count for each in live)

    def teardown(self) -> None:
        """Acknowledge the rest: then everything handed out since the start can be committed."""
        for number, log in self.logs.items():
            if log.ours:
                ends = [each.offset_last + 1 for each in log.live]
                for delivery in list(log.live):
                    self.tracker.acknowledge(delivery)
                if ends and max(ends) > (log.committed or 0):
                    assert (self.tracker.committable(number) or log.committed or 0) >= max(ends)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)

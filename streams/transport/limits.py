"""The named limits of the batch transport: how much it holds in memory, and how long it waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Limits of one consumer; all are whole numbers above zero.

    Memory of records: at most `in_flight_bytes_max` and one fetch more. Fetched ahead and not yet
    unpacked: at most `fetch_response_bytes_max` twice per broker (one answer waiting, one coming).
    """

    in_flight_batches_max: int = 256
    """Unacknowledged batches per partition; beyond it the partition is not read."""
    in_flight_bytes_max: int = 192 * 1024 * 1024
    """Memory of unacknowledged records of all partitions; beyond it nothing is read."""
    fetch_response_bytes_max: int = 16 * 1024 * 1024
    """Bytes of one answer of a broker, all partitions together."""
    fetch_wait_milliseconds: int = 100
    """How long a broker waits with an answer that would be empty. A broker serves one request at a
    time, so this bounds how long a busy partition waits behind idle ones."""
    gather_milliseconds: int = 5
    """Pause after a fetch that brought little. A fetch costs as much CPU as 500 records; without
    the pause every record would have its own fetch under light load."""
    answer_timeout_milliseconds: int = 3_000
    """After it a commit, or the look-up of committed offsets, counts as failed and is tried again.
    It is short because a rebalance and a stop wait for it."""

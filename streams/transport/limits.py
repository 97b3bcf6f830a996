"""Limits of the batch transport: how much it holds in memory, and how long it waits."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Limits of one consumer; all are positive integers.

    Records take at most `in_flight_bytes_max` of memory plus one fetch. Data fetched ahead and not
    yet unpacked take at most twice `fetch_response_bytes_max` per broker (one response waiting, one
    arriving).
    """

    in_flight_batches_max: int = 256
    """Most unacknowledged batches per partition; at this limit the partition is not read."""
    in_flight_bytes_max: int = 192 * 1024 * 1024
    """Most memory of unacknowledged records, over all partitions; at this limit nothing is read."""
    fetch_response_bytes_max: int = 16 * 1024 * 1024
    """Most bytes of one fetch response of a broker, over all partitions."""
    idle_wait_milliseconds: int = 100
    """How long a broker waits for the first record of a fetch when none came of late. It serves
    one request at a time, so this bounds how long a partition that was resumed is not read.
    """
    gather_milliseconds: int = 30
    """How long a broker gathers records when fetches that had some are less than one and a half
    times so far apart. A fetch costs as much CPU as 500 records. Without this, each of many single
    records would have its own. Debezium commits a few records every 50 ms; those gain nothing.
    """
    gather_bytes: int = 256 * 1024
    """A broker that has gathered so much answers at once."""
    answer_timeout_milliseconds: int = 3_000
    """After this time a commit, or a lookup of committed offsets, counts as failed and is retried.
    It is short because a rebalance and a stop wait for it.
    """

    def __post_init__(self) -> None:
        # Settings check user input; these assertions are for code that creates limits.
        assert all(isinstance(limit, int) and limit > 0 for limit in astuple(self)), self

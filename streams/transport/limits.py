"""The named limits of the batch transport, carried by the broker's URL.

Faust hands a transport nothing but the broker's URLs, so the limits travel in the first one's
query: `batch+kafka://127.0.0.1:9092?in_flight_batches_max=4`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self
from urllib.parse import urlencode

from schemas.errors import ConfigurationError

SCHEME = "batch+kafka"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """How much the transport holds in memory and how long it waits.

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
    """How long a broker waits with an answer that would be empty; bounds the stall of a busy
    partition behind idle ones, because one request at a time is under way per broker."""
    gather_milliseconds: int = 5
    """Pause after a fetch that brought little: a fetch costs as much CPU as 500 records, and under
    light load every record would have its own."""
    answer_timeout_milliseconds: int = 3_000
    """After it a commit, or the look-up of committed offsets, counts as failed and is tried again;
    short, because a rebalance and a stop wait for it."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or value <= 0:
                raise ConfigurationError(
                    f"{each.name}: {value!r} is not a whole number above zero; correct it"
                )

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Read the limits from a URL's query.

        Raises ConfigurationError for an unknown name or a value that is not a number above zero.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(query) - known)
        if unknown:
            raise ConfigurationError(
                f"broker URL: no limit is called {unknown[0]}; use {', '.join(sorted(known))}"
            )
        values: dict[str, int] = {}
        for name, text in query.items():
            try:
                values[name] = int(text)
            except ValueError:
                raise ConfigurationError(
                    f"broker URL: {name}={text!r} is not a whole number above zero; correct it"
                ) from None
        return cls(**values)

    def broker_url(self, address: str) -> str:
        """The URL that selects the batch transport with these limits; address is `host:port`."""
        return f"{SCHEME}://{address}?{urlencode(asdict(self))}"

"""Debezium's replication slot, seen from PostgreSQL: is it being read, and how much WAL is left.

A connector that keeps retrying stays RUNNING. The slot and the heartbeat show whether it works.
"""

from dataclasses import dataclass

import psycopg

from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from schemas.topics import HEARTBEAT_TABLE

CONNECT_SECONDS = 5
LOST = "lost"
# Below this share of the slot's WAL limit, an operator has to act before the slot is lost.
SAFE_SHARE_LEAST = 0.25
HEARTBEATS_MISSED_MOST = 6
HEARTBEAT_SECONDS_LEAST = 30.0

# A slot beyond its limit has a negative safe_wal_size, and a beat can be later than now().
_SLOT = """
SELECT active, wal_status, invalidation_reason, greatest(safe_wal_size, 0),
    greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint, 0)
FROM pg_replication_slots
WHERE slot_name = %s
"""
_HEARTBEAT = (
    f"SELECT greatest(extract(epoch FROM now() - max(beat_at))::float8, 0) FROM {HEARTBEAT_TABLE}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHealth:
    """A replication slot. `lag_bytes` of WAL are unconfirmed, `safe_bytes` more are allowed.

    `wal_status` is PostgreSQL's (reserved, extended, unreserved, lost), or None without a slot.
    """

    name: str
    active: bool
    wal_status: str | None
    invalidation_reason: str | None
    lag_bytes: int | None
    safe_bytes: int | None
    heartbeat_age_seconds: float | None

    @property
    def lost(self) -> bool:
        """Whether PostgreSQL has removed WAL that Debezium had not read."""
        return self.wal_status == LOST

    def problems(self, heartbeat_seconds: float) -> tuple[str, ...]:
        """The problems, worst first; `heartbeat_seconds` is the interval of Debezium's writes."""
        if self.wal_status is None:
            return (
                f"replication slot {self.name} does not exist: no event leaves PostgreSQL;"
                " `purser repair slot` makes it",
            )
        if self.lost:
            reason = self.invalidation_reason or "no reason given"
            return (
                f"REPLICATION SLOT {self.name} IS LOST ({reason}): events that Debezium had not"
                " read are missing from Kafka. They are safe in PostgreSQL; `purser repair slot`"
                " sends them again",
            )
        found = []
        if not self.active:
            found.append(f"nobody reads replication slot {self.name}: PostgreSQL keeps its WAL")
        if self.wal_status == "unreserved" or self._nearly_full():
            found.append(
                f"replication slot {self.name} is about to be lost: {self.lag_bytes} bytes of WAL"
                f" are unread and {self.safe_bytes} more are kept; repair Debezium now"
            )
        limit = max(HEARTBEAT_SECONDS_LEAST, HEARTBEATS_MISSED_MOST * heartbeat_seconds)
        if self.heartbeat_age_seconds is None:
            found.append("Debezium has never written its heartbeat")
        elif self.heartbeat_age_seconds > limit:
            found.append(
                f"Debezium's last heartbeat is {self.heartbeat_age_seconds:.0f} s old: it runs but"
                " does not work; look at Kafka Connect's log"
            )
        return tuple(found)

    def _nearly_full(self) -> bool:
        if self.safe_bytes is None or self.lag_bytes is None:
            return False
        return self.safe_bytes < SAFE_SHARE_LEAST * (self.safe_bytes + self.lag_bytes)


def read_slot(reader_dsn: str, name: str) -> SlotHealth:
    """Query PostgreSQL. Any role may see the slot; the heartbeat needs purser_reader.

    Raises ServiceUnavailable if PostgreSQL does not answer or has no Purser schema.
    """
    try:
        with psycopg.connect(reader_dsn, connect_timeout=CONNECT_SECONDS) as connection:
            slot = connection.execute(_SLOT, [name]).fetchone()
            beat = connection.execute(_HEARTBEAT).fetchone()
    except psycopg.Error as error:
        reason = what_postgres_says(error)
        raise ServiceUnavailable(
            f"PostgreSQL did not return replication slot {name}: {reason}"
        ) from error
    active, wal_status, invalidation_reason, safe_bytes, lag_bytes = slot or (False, *[None] * 4)
    return SlotHealth(
        name=name,
        active=active,
        wal_status=wal_status,
        invalidation_reason=invalidation_reason,
        lag_bytes=lag_bytes,
        safe_bytes=safe_bytes,
        heartbeat_age_seconds=beat[0] if beat else None,
    )

"""The exact cut: which ClickHouse rows belong to one PostgreSQL snapshot.

A snapshot is `(xmin, xmax, xip)`. Transactions below xmin have ended. Transactions from xmax on had
not started. Of those in between, the ones in xip were still in progress. Debezium stores each row's
(top-level) transaction id and delivers only committed transactions. So the snapshot sees a row if
and only if

    txid < xmin  or  (txid < xmax and txid not in xip)

No offset, LSN or clock can decide this: commits interleave, and all three can run backwards.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

TXID_MODULUS = 2**32

ALWAYS_VISIBLE_AFTER = timedelta(hours=12)
"""Rows recorded longer than this before the snapshot count as visible, whatever their txid.

The source has 32-bit ids that wrap around, so a txid is compared with xmin by their distance modulo
2^32, read as a signed number. This is correct only for transactions less than 2^31 away from xmin.
Older rows would seem to come from the future, so they are recognized by age. This age must be

- longer than any transaction stays open after an insert, because its rows were recorded long ago
  and are still invisible. Writers commit in milliseconds, and a bulk import commits each chunk.
  A session that keeps payments uncommitted for half a day has other problems;
- shorter than the time in which PostgreSQL can use up 2^31 ids. In 12 hours that would take 49,710
  transactions a second without pause, which is above the pipeline's limit.

If both assumptions failed, rows would only be counted on the wrong side of the cut. They are looked
up again in a newer snapshot before they are reported as a difference.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One PostgreSQL snapshot; ids are 64-bit, `in_progress` are those between xmin and xmax."""

    xmin: int
    xmax: int
    in_progress: tuple[int, ...]
    taken_at: datetime

    @classmethod
    def parse(cls, snapshot: str, taken_at: datetime) -> "Cut":
        """Parse the text of a `pg_snapshot`: `xmin:xmax:xip,xip,…`."""
        xmin, xmax, xip = snapshot.split(":")
        return cls(
            xmin=int(xmin),
            xmax=int(xmax),
            in_progress=tuple(int(txid) for txid in xip.split(",") if txid),
            taken_at=taken_at,
        )

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.in_progress))}"

    def holds(self, txid: int, *, op: str = "c", recorded_at: datetime | None = None) -> bool:
        """Return whether a row with this 32-bit txid is in the cut: the rule in Python."""
        if op == "r" or txid == 0:
            return True
        if recorded_at is not None and recorded_at < self.taken_at - ALWAYS_VISIBLE_AFTER:
            return True
        distance = (txid - self.xmin) % TXID_MODULUS
        if distance >= TXID_MODULUS // 2:
            return True
        in_progress = {running % TXID_MODULUS for running in self.in_progress}
        return distance < self.xmax - self.xmin and txid not in in_progress

    def clickhouse_condition(self) -> str:
        """Return the same rule as a ClickHouse condition on txid, op and recorded_at.

        Rows of Debezium's initial snapshot (op `r`) and rows without a txid have no known
        transaction and count as visible.
        """
        oldest = self.taken_at - ALWAYS_VISIBLE_AFTER
        in_progress = ", ".join(str(txid % TXID_MODULUS) for txid in self.in_progress)
        distance = f"toUInt32(toInt64(txid) - toInt64({self.xmin % TXID_MODULUS}))"
        not_running = f" AND txid NOT IN ({in_progress})" if in_progress else ""
        return (
            "(op = 'r' OR txid = 0"
            f" OR recorded_at < fromUnixTimestamp64Micro(toInt64({_micros(oldest)}), 'UTC')"
            f" OR {distance} >= {TXID_MODULUS // 2}"
            f" OR ({distance} < {self.xmax - self.xmin}{not_running}))"
        )


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond

"""The exact cut: which rows of ClickHouse belong to one PostgreSQL snapshot.

A snapshot is `(xmin, xmax, xip)`: transactions below xmin have ended, those from xmax on had not
begun, of those between, the ones in xip were still under way. Debezium gives each row the id of
its (top-level) transaction, and only committed transactions reach it. So a row was visible when

    txid < xmin  or  (txid < xmax and txid not in xip)

No offset, LSN or clock can tell that: commits interleave, and all three run backwards somewhere.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

TXID_MODULUS = 2**32

ALWAYS_VISIBLE_AFTER = timedelta(hours=12)
"""Rows recorded longer ago than this before the snapshot count as visible, whatever their txid.

The source has 32 bit ids and wraps, so a txid is compared with xmin by their distance modulo 2^32,
read as a signed number. That is right only for transactions less than 2^31 away from xmin. Older
rows would look as if they came from the future. They must be told by age, and the age must lie

- above the longest time that any transaction may stay open after it inserted (its rows are
  recorded long ago and still not visible): writers commit in milliseconds, a bulk import commits
  each chunk. A session that sits on uncommitted payments for half a day has other problems;
- below the time in which PostgreSQL can use up 2^31 ids: for 12 hours that would take 49,710
  transactions a second, all the time. The pipeline's ceiling is below that.

Were both assumptions wrong, rows would be misjudged only as outside or inside of the cut: what is
left over is looked up again in a newer snapshot before anybody calls it a difference.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One PostgreSQL snapshot; ids are 64 bit, `in_progress` those between xmin and xmax."""

    xmin: int
    xmax: int
    in_progress: tuple[int, ...]
    taken_at: datetime

    @classmethod
    def parse(cls, snapshot: str, taken_at: datetime) -> "Cut":
        """From the text of a `pg_snapshot`: `xmin:xmax:xip,xip,…`."""
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
        """Whether a row with this 32 bit txid is in the cut: the rule, as Python reads it."""
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
        """The same rule as a ClickHouse condition on txid, op and recorded_at.

        Rows of Debezium's initial snapshot (op `r`) and rows without a txid have no transaction
        to ask for: they count as visible.
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

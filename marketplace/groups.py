"""How large the groups were in which commands were appended together."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self

import psycopg

from marketplace.freshness import quantile

# The rows of a command have its key, and those of a transaction its id.
_SINCE = """
SELECT size, count(*) FROM (
    SELECT count(DISTINCT (payment_id, idempotency_key)) AS size FROM payments
    WHERE recorded_at >= %s GROUP BY xmin::text
) AS groups GROUP BY size
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSizes:
    """Commands in a group. The quantiles are of groups, not of commands; all 0: no group."""

    groups: int
    mean: float
    p50: int
    p99: int
    largest: int

    @classmethod
    def of(cls, sizes: Mapping[int, int]) -> Self:
        """Summarize size -> number of groups."""
        groups = sum(sizes.values())
        commands = sum(size * number for size, number in sizes.items())
        each = [*Counter(sizes).elements()]
        return cls(
            groups=groups,
            mean=commands / groups if groups else 0.0,
            p50=int(quantile(each, 0.5)),
            p99=int(quantile(each, 0.99)),
            largest=max(sizes, default=0),
        )

    def to_json(self) -> dict[str, float]:
        """For machines: `groups` and `group_mean` to `group_largest`."""
        values = asdict(self)
        return {"groups": values.pop("groups")} | {f"group_{k}": v for k, v in values.items()}

    def __str__(self) -> str:
        """For people, as a part of a sentence."""
        if not self.groups:
            return "none"
        return (
            f"{self.groups:,} groups of {self.mean:.1f} commands on average; half had at most"
            f" {self.p50}, 99 % at most {self.p99}, the largest {self.largest}"
        )


def appended_since(reader_dsn: str, moment: datetime) -> GroupSizes:
    """The groups of all writers together, as PostgreSQL has them; an import is one as well."""
    with psycopg.connect(reader_dsn) as connection:
        return GroupSizes.of(dict(connection.execute(_SINCE, [moment]).fetchall()))

"""How `verify` adds up money: in a type that nothing else uses, and that no sum can leave.

ClickHouse's sums have the type of their terms, and a sum that leaves its type wraps silently. The
sink and the views add up in Int128. `verify` uses Int256, so it repeats no mistake of theirs: a
total that wrapped anywhere differs from the one here. PostgreSQL's `sum(bigint)` is numeric.
"""


def wide(sql: str) -> str:
    """Return a ClickHouse expression of the same integer as Int256."""
    return f"toInt256({sql})"

"""What an analyst may do: one list, for the local server and for any other."""

from schemas.clickhouse.catalogue import VIEWS
from schemas.sql_words import clickhouse_name

ANALYST_ROLE = "purser_analyst"
"""The role on the local server, which has one database; `analyst_role` elsewhere."""


def analyst_role(database: str) -> str:
    """The role of one database: another database's analysts keep theirs."""
    return f"{ANALYST_ROLE}_{database}"


def analyst_rights(database: str) -> list[str]:
    """What stands behind GRANT. A right may name a view that migrations have yet to create."""
    return [f"SELECT ON {clickhouse_name(database)}.{view}" for view in VIEWS]

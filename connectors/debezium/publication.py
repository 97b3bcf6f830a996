"""The publication that Debezium reads through: what it must say, and what is wrong with it.

Without it, or with another one, events stay in PostgreSQL although every process runs. The
migration 0003_change_data_capture creates it; a test proves that both say the same.
"""

from dataclasses import dataclass

import psycopg

from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from schemas.topics import HEARTBEAT_TABLE, PAYMENTS_TABLE

CONNECT_SECONDS = 5
TABLES = (HEARTBEAT_TABLE, PAYMENTS_TABLE)
OPERATIONS = ("insert", "update")
"""`update` is for the heartbeat. `payments` has only inserts."""

_PUBLICATION = """
SELECT puballtables, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate,
    ARRAY(SELECT nspname::text FROM pg_publication_namespace
        JOIN pg_namespace ON pg_namespace.oid = pnnspid
        WHERE pnpubid = pg_publication.oid ORDER BY 1)
FROM pg_publication
WHERE pubname = %s
"""
_TABLES = """
SELECT format('%%I.%%I', nspname, relname), pg_get_expr(prqual, prrelid),
    ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = prrelid AND attnum = ANY (prattrs) ORDER BY attnum)
FROM pg_publication_rel
JOIN pg_publication ON pg_publication.oid = prpubid
JOIN pg_class ON pg_class.oid = prrelid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pubname = %s
ORDER BY 1
"""

REMAKE = (
    "DROP PUBLICATION IF EXISTS {name}",
    f"CREATE PUBLICATION {{name}} FOR TABLE {', '.join(reversed(TABLES))}"
    f" WITH (publish = '{', '.join(OPERATIONS)}', publish_via_partition_root = true)",
)
"""Statements that make it as the migration does; for one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A table of a publication. Without filter and columns, all rows and columns are published."""

    name: str
    row_filter: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A publication as PostgreSQL has it; `exists` is false, and the rest empty, without one."""

    name: str
    exists: bool
    all_tables: bool = False
    schemas: tuple[str, ...] = ()
    tables: tuple[PublishedTable, ...] = ()
    operations: tuple[str, ...] = ()
    via_root: bool = False

    def problems(self) -> tuple[str, ...]:
        """What differs from the migration, worst first; empty if nothing does."""
        if not self.exists:
            return (f"publication {self.name} does not exist: no event leaves PostgreSQL",)
        names = [table.name for table in self.tables]
        found = [
            f"publication {self.name} lacks table {table}: {_LACKS[table]}"
            for table in reversed(TABLES)
            if table not in names and not self.all_tables
        ]
        found += [
            f"publication {self.name} does not publish {operation}s: {_MISSED[operation]}"
            for operation in OPERATIONS
            if operation not in self.operations
        ]
        if not self.via_root:
            found.append(
                f"publication {self.name} does not publish through the root"
                " (publish_via_partition_root): events bear their partition's name and do not"
                " reach the payments topic"
            )
        for table in self.tables:
            if table.row_filter is not None:
                found.append(
                    f"publication {self.name} omits rows of {table.name}: only those with"
                    f" {table.row_filter} leave PostgreSQL"
                )
            if table.columns:
                found.append(
                    f"publication {self.name} omits columns of {table.name}: only"
                    f" {', '.join(table.columns)} leave PostgreSQL"
                )
        return tuple(found + self._too_much())

    @property
    def loses_events(self) -> bool:
        """Whether events of `payments` that are committed now never reach the payments topic."""
        payments = [table for table in self.tables if table.name == PAYMENTS_TABLE]
        whole = all(table.row_filter is None and not table.columns for table in payments)
        published = self.exists and bool(payments or self.all_tables) and whole
        return not (published and self.via_root and "insert" in self.operations)

    def _too_much(self) -> list[str]:
        """What is published without need; Debezium receives and drops it."""
        extra = [table.name for table in self.tables if table.name not in TABLES]
        extra += [f"every table of schema {schema}" for schema in self.schemas]
        extra += ["every table"] if self.all_tables else []
        extra += [f"{operation}s" for operation in self.operations if operation not in OPERATIONS]
        if not extra:
            return []
        return [f"publication {self.name} also publishes {', '.join(extra)}, which nobody reads"]


_LACKS = {
    PAYMENTS_TABLE: "no event leaves PostgreSQL",
    HEARTBEAT_TABLE: "an idle database retains its WAL",
}
_MISSED = {
    "insert": "no event leaves PostgreSQL",
    "update": "an idle database retains its WAL",
}


def read_publication(reader_dsn: str, name: str) -> Publication:
    """Query PostgreSQL; any role may see publications.

    Raises ServiceUnavailable if PostgreSQL does not answer.
    """
    try:
        with psycopg.connect(reader_dsn, connect_timeout=CONNECT_SECONDS) as connection:
            found = connection.execute(_PUBLICATION, [name]).fetchone()
            tables = connection.execute(_TABLES, [name]).fetchall()
    except psycopg.Error as error:
        reason = what_postgres_says(error)
        raise ServiceUnavailable(
            f"PostgreSQL did not return publication {name}: {reason}"
        ) from error
    if found is None:
        return Publication(name=name, exists=False)
    all_tables, via_root, *published, schemas = found
    operations = ("insert", "update", "delete", "truncate")
    return Publication(
        name=name,
        exists=True,
        all_tables=all_tables,
        schemas=tuple(schemas),
        tables=tuple(
            PublishedTable(name=table, row_filter=row_filter, columns=tuple(columns))
            for table, row_filter, columns in tables
        ),
        operations=tuple(each for each, on in zip(operations, published, strict=True) if on),
        via_root=via_root,
    )

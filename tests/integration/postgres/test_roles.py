"""Who may do what: every privilege of every role on every table, as one table."""

from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from schemas.lifecycle import EventType
from schemas.postgres.guard_codes import GuardCode
from stack.postgres import CDC, READER, WRITER
from tests.integration.postgres.database import Database, Refused, insert, refusal
from tests.integration.postgres.rows import Book

pytestmark = pytest.mark.integration

PRIVILEGES = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "MAINTAIN",
)
GRANTED = {
    (WRITER, "payments"): {"SELECT", "INSERT"},
    (WRITER, "payins_checkpoints"): {"SELECT", "INSERT", "UPDATE"},
    (WRITER, "purser_migrations"): {"SELECT"},
    (CDC, "payments"): {"SELECT"},
    (CDC, "heartbeat"): {"SELECT", "INSERT", "UPDATE"},
    (CDC, "purser_migrations"): {"SELECT"},
    (READER, "payments"): {"SELECT"},
    (READER, "heartbeat"): {"SELECT"},
    (READER, "purser_migrations"): {"SELECT"},
}
"""Whoever and whatever is not named may do nothing."""

ROLES = (WRITER, CDC, READER, "public")


def _tables(session: psycopg.Connection) -> list[str]:
    rows = session.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm', 'S')"
    )
    return [str(name) for (name,) in rows]


@pytest.mark.parametrize("role", ROLES)
def test_privileges_are_exactly_the_granted_ones(owner: psycopg.Connection, role: str) -> None:
    tables = _tables(owner)
    assert len(tables) == 1 + 16 + 1 + 1 + 1
    for table in tables:
        held = {
            privilege
            for privilege in PRIVILEGES
            if owner.execute(
                "SELECT has_table_privilege(%s, 'public.' || %s, %s)", [role, table, privilege]
            ).fetchone()
            == (True,)
        }
        assert held == GRANTED.get((role, table), set()), (role, table)


@pytest.mark.parametrize("role", ROLES)
def test_nobody_may_create_in_the_schema_or_call_the_guards(
    owner: psycopg.Connection, role: str
) -> None:
    used = owner.execute(
        "SELECT has_schema_privilege(%(role)s, 'public', 'USAGE'),"
        " has_schema_privilege(%(role)s, 'public', 'CREATE')",
        {"role": role},
    ).fetchone()
    assert used == (role != "public", False)
    callable_functions = owner.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        [role],
    ).fetchall()
    assert callable_functions == []


LOG_WRITERS = (
    "SELECT pg_logical_emit_message(false, 'note', 'text')",
    "SELECT pg_logical_emit_message(true, 'note', 'text', true)",
    "SELECT pg_logical_emit_message(false, '', 'bytes'::bytea)",
    "SELECT pg_logical_emit_message(true, 'note', 'bytes'::bytea, false)",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'bytes')",
    "SELECT pg_create_restore_point('x')",
    "SELECT pg_log_standby_snapshot()",
    "SELECT pg_switch_wal()",
    "SELECT pg_replication_origin_create('x')",
)
"""They write to the log that Debezium reads and need no right on a table."""

SLOT_FUNCTIONS = (
    "SELECT pg_create_logical_replication_slot('own', 'pgoutput')",
    "SELECT pg_create_physical_replication_slot('own')",
    "SELECT pg_copy_logical_replication_slot('purser', 'own')",
    "SELECT pg_drop_replication_slot('purser')",
    "SELECT pg_replication_slot_advance('purser', '0/1')",
    "SELECT pg_logical_slot_get_changes('purser', NULL, NULL)",
    "SELECT pg_logical_slot_peek_binary_changes('purser', NULL, NULL)",
    "SELECT pg_sync_replication_slots()",
)
"""They need the attribute REPLICATION, which only Debezium's login has."""


@pytest.mark.parametrize("role", ["owner", "writer", "cdc", "reader"])
def test_nobody_may_write_to_the_log_beside_the_tables(database: Database, role: str) -> None:
    statements = (*LOG_WRITERS, *(() if role == "cdc" else SLOT_FUNCTIONS))
    with psycopg.connect(database.dsn(role), autocommit=True) as session:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())


def test_functions_pin_their_search_path(owner: psycopg.Connection) -> None:
    """All but the lifecycle functions, whose bodies were parsed when they were made."""
    unpinned = owner.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND prosqlbody IS NULL"
        " AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']"
    ).fetchall()
    assert unpinned == []


def test_a_table_of_the_writer_s_own_does_not_mislead_the_guard(
    writer: psycopg.Connection,
) -> None:
    """Temporary objects come first in a session's search path, but not in the guard's."""
    writer.execute("CREATE TEMPORARY TABLE payments AS TABLE public.payments WITH NO DATA")
    book = Book()
    created = book.create()
    authorized = book.event(EventType.AUTHORIZED)
    names = sql.SQL(", ").join(map(sql.Identifier, authorized))
    values = sql.SQL(", ").join([sql.Placeholder()] * len(authorized))
    writer.execute(
        sql.SQL("INSERT INTO pg_temp.payments ({}) VALUES ({})").format(names, values),
        list(created.values()),
    )
    assert refusal(writer, authorized) == Refused(why=GuardCode.SEQ_GAP, field="seq")


def test_the_reader_cannot_write(database: Database) -> None:
    with psycopg.connect(database.reader) as reader:
        refused = refusal(reader, Book().create())
    assert refused is not None
    assert refused.why == "42501"


def test_the_heartbeat_beats_as_cdc_and_has_one_row(database: Database) -> None:
    beat = (
        "INSERT INTO public.heartbeat (id, beat_at) VALUES (1, clock_timestamp())"
        " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
    )
    with psycopg.connect(database.cdc, autocommit=True) as session:
        session.execute(beat)
        session.execute(beat)
        assert session.execute("SELECT count(*) FROM public.heartbeat").fetchone() == (1,)
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute("INSERT INTO public.heartbeat (id) VALUES (2)")


def test_all_partitions_are_published_as_one_table(database: Database) -> None:
    book = Book()
    with psycopg.connect(database.cdc, autocommit=True) as session:
        session.execute(
            "SELECT pg_create_logical_replication_slot('test_publication', 'pgoutput', true)"
        )
        with psycopg.connect(database.writer) as writer:
            insert(writer, book.create())
        changes = session.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes('test_publication', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'purser')"
        ).fetchall()
    messages = [bytes(data) for (data,) in changes]
    # A message begins with its kind and the id of its table; R describes a table, I is an insert.
    (root,) = [message[1:5] for message in messages if b"public\0payments\0" in message[:40]]
    (inserted,) = [message for message in messages if message.startswith(b"I")]
    assert inserted[1:5] == root
    assert str(book.payment_id).encode() in inserted


def test_the_publication_has_no_deletes(owner: psycopg.Connection) -> None:
    published = owner.execute(
        "SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot"
        " FROM pg_publication WHERE pubname = 'purser'"
    ).fetchone()
    assert published == (False, True, True, False, False, True)
    tables = owner.execute(
        "SELECT tablename FROM pg_publication_tables WHERE pubname = 'purser' ORDER BY 1"
    ).fetchall()
    assert tables == [("heartbeat",), ("payments",)]


def test_the_owner_drops_a_slot_as_debeziums_role_and_inherits_nothing(database: Database) -> None:
    slot = f"dropped_{uuid4().hex}"
    drop = "SELECT pg_drop_replication_slot(%s)"
    with psycopg.connect(database.cdc, autocommit=True) as cdc:
        cdc.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    try:
        with psycopg.connect(database.owner, autocommit=True) as owner:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(drop, [slot])
            inherited = owner.execute("SELECT pg_has_role(%s, 'USAGE')", [CDC]).fetchone()
            assert inherited == (False,)
            owner.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(CDC)))
            owner.execute(drop, [slot])
    finally:
        with psycopg.connect(database.cdc, autocommit=True) as cdc:
            cdc.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = %s",
                [slot],
            )

"""The publication as PostgreSQL has it: the migration's is right, and every change is seen."""

import psycopg
import pytest

from connectors.debezium.publication import (
    OPERATIONS,
    REMAKE,
    TABLES,
    PublishedTable,
    read_publication,
)
from schemas.topics import PUBLICATION
from tests.integration.postgres.database import Database

pytestmark = pytest.mark.integration


def test_the_migration_publishes_what_debezium_needs(database: Database) -> None:
    found = read_publication(database.reader, PUBLICATION)
    assert found.problems() == ()
    assert found.tables == tuple(PublishedTable(name=name) for name in TABLES)
    assert found.operations == OPERATIONS
    assert found.via_root


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP PUBLICATION purser", "does not exist"),
        ("ALTER PUBLICATION purser DROP TABLE public.payments", "lacks table public.payments"),
        ("ALTER PUBLICATION purser DROP TABLE public.heartbeat", "lacks table public.heartbeat"),
        ("ALTER PUBLICATION purser SET (publish = 'update')", "does not publish inserts"),
        ("ALTER PUBLICATION purser SET (publish = 'insert')", "does not publish updates"),
        ("ALTER PUBLICATION purser SET (publish_via_partition_root = false)", "through the root"),
        (
            "ALTER PUBLICATION purser SET TABLE public.heartbeat, public.payments WHERE (seq > 1)",
            "omits rows of public.payments: only those with (seq > 1)",
        ),
        (
            "ALTER PUBLICATION purser SET TABLE public.heartbeat, public.payments"
            " (payment_id, seq)",
            "omits columns of public.payments: only payment_id, seq",
        ),
        (
            "ALTER PUBLICATION purser ADD TABLE public.purser_migrations",
            "also publishes public.purser_migrations",
        ),
        ("ALTER PUBLICATION purser SET (publish = 'insert, update, delete')", "deletes"),
    ],
)
def test_a_publication_that_was_changed_is_a_problem(
    database: Database, statement: str, words: str
) -> None:
    with psycopg.connect(database.owner, autocommit=True) as owner:
        owner.execute(statement.encode())
        try:
            (problem,) = read_publication(database.reader, PUBLICATION).problems()
            assert words in problem
        finally:
            for each in REMAKE:
                owner.execute(each.format(name=PUBLICATION).encode())
    # Made again, it is the migration's.
    assert read_publication(database.reader, PUBLICATION).problems() == ()

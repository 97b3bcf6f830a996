"""The writer after an upgrade: it decides on what older rows mean, and leaves them as they are."""

import json

import msgspec
import psycopg
import pytest

from schemas.errors import SchemaVersionError
from schemas.events import NewEvent
from schemas.upcast import Row
from tests.builders import a_payment, change, fresh_key, line, rows_of, state_after
from tests.integration.postgres.database import Database
from tests.versions import upgrade
from writer import commands as c
from writer.append import Appended, Writer
from writer.postgres import PostgresStore

pytestmark = pytest.mark.integration


def _second(row: Row) -> Row:
    """To a version 2 that calls a `cause` in the details a `reason`, as today's models do."""
    details = json.loads(row["details"])
    if "cause" in details:
        details["reason"] = details.pop("cause")
    return row | {"details": json.dumps(details)}


def _as_version_1(rows: tuple[NewEvent, ...]) -> list[NewEvent]:
    return [
        msgspec.structs.replace(
            row, schema_version=1, details=row.details.replace('"reason"', '"cause"')
        )
        for row in rows
    ]


def _disputed_in_version_1(store: PostgresStore) -> tuple[c.CreatePayment, c.OpenDispute]:
    """A payment whose dispute was recorded by a writer of version 1."""
    payment = a_payment(line("A"), idempotency_key=f"older-{fresh_key()}")
    capture = change(c.Capture, payment.payment_id)
    dispute = change(
        c.OpenDispute, payment.payment_id, order_id="A", reason="fraudulent", amount_minor=300
    )
    commands: tuple[c.AnyCommand, ...] = (payment, capture, dispute)
    for done, command in enumerate(commands):
        state = state_after(commands[:done]) if done else None
        store.append(_as_version_1(rows_of(state, command)))
    return payment, dispute


def test_older_rows_are_decided_on_as_they_are_meant_today(
    postgres_store: PostgresStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment, dispute = _disputed_in_version_1(postgres_store)
    upgrade(monkeypatch, {1: _second}, {})
    writer = Writer(postgres_store)
    # The same command comes back: it is known by what its row means, not by how it is stored.
    again = writer.handle(dispute)
    assert isinstance(again, Appended), again
    assert again.already_done
    assert [(row.schema_version, '"reason"' in row.details) for row in again.events] == [(2, True)]
    # The payment goes on, in the new version; what was stored stays.
    lost = writer.handle(change(c.LoseDispute, payment.payment_id, order_id="A"))
    assert isinstance(lost, Appended), lost
    with psycopg.connect(database.reader) as session:
        stored = session.execute(
            "SELECT schema_version, details ? 'cause', details ? 'reason' FROM payments"
            " WHERE payment_id = %s ORDER BY seq",
            [payment.payment_id],
        ).fetchall()
    assert stored == [
        (1, False, False),
        (1, False, False),
        (1, True, False),
        (2, False, False),
    ]


def test_a_payment_whose_rows_cannot_be_upcast_is_not_decided_on(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment, _ = _disputed_in_version_1(postgres_store)
    upgrade(monkeypatch, {1: lambda row: {"x": row["no such column"]}}, {})
    command = change(c.WinDispute, payment.payment_id, order_id="A")
    with pytest.raises(SchemaVersionError, match=r"schema version 1 .*correct its upcaster"):
        Writer(postgres_store).handle(command)
    upgrade(monkeypatch, {1: lambda row: row | {"details": "not JSON"}}, {})
    with pytest.raises(SchemaVersionError, match=f"payment {payment.payment_id} seq 1"):
        Writer(postgres_store).handle(command)

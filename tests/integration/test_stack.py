"""The native stack's servers, really running: who may log in, what is durable, what restarts."""

import psycopg
import pytest

from stack.endpoints import Endpoints
from stack.native import Stack

pytestmark = pytest.mark.integration


def test_every_role_logs_in_with_its_own_password_only(endpoints: Endpoints) -> None:
    for dsn, role in (
        (endpoints.postgres_dsn, "purser_writer"),
        (endpoints.postgres_admin_dsn, "purser_owner"),
        (endpoints.postgres_reader_dsn, "purser_reader"),
        (endpoints.postgres_cdc_dsn, "purser_cdc"),
    ):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn.replace(f"{role}:", f"{role}:x"))


def test_killed_postgres_comes_back_by_itself(stack: Stack) -> None:
    killed = stack.kill("postgres")
    stack.wait_ready("postgres")
    assert stack.pid("postgres") not in (None, killed)

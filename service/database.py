"""Finds what belongs in lists, and what is provable, in a pool apart from the writer's.

A list that takes long must not keep a payment waiting, so it has connections of its own, few of
them, and statements that are ended after a few seconds. The streams that it shows are read apart
too (`writer.append.AsyncReader`). Nothing is written here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from writer.store import TookTooLong

APPLICATION = "purser-api"
CONNECTIONS_MOST = 4
WAIT_SECONDS = 5.0
STATEMENT_SECONDS = 5
CONNECT_SECONDS = 5


class Database:
    """A few read-only connections, for one event loop."""

    def __init__(self, dsn: str) -> None:
        self._pool = AsyncConnectionPool(
            dsn,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_SECONDS,
                "application_name": APPLICATION,
                # Nothing is known about rows that are newer than the statistics: use the index.
                "options": f"-c statement_timeout={STATEMENT_SECONDS}s -c timezone=UTC"
                " -c default_transaction_read_only=on -c enable_seqscan=off",
            },
            min_size=1,
            max_size=CONNECTIONS_MOST,
            timeout=WAIT_SECONDS,
            name=APPLICATION,
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect; does not wait for the server."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of one statement.

        Raises:
            ServiceUnavailable: no answer in time.
        """
        for attempt in (1, 2):
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(statement, parameters)
                    found: Sequence[Any] = await cursor.fetchall()
                    return found
            except PoolTimeout as error:
                raise ServiceUnavailable("PostgreSQL gives no connection; try again") from error
            except psycopg.errors.QueryCanceled as error:
                raise TookTooLong(
                    f"PostgreSQL gives no answer within {STATEMENT_SECONDS} s; ask for less"
                ) from error
            except psycopg.OperationalError as error:
                # A connection that broke while it was idle is noticed only now; the next is new.
                if attempt == 2:
                    raise ServiceUnavailable(
                        f"PostgreSQL does not answer: {what_postgres_says(error)}; try again"
                    ) from error
                await self._pool.check()
            except psycopg.Error as error:
                raise ServiceUnavailable(
                    f"PostgreSQL refuses a list: {what_postgres_says(error)}"
                ) from error
        raise AssertionError("the second attempt returns or raises")

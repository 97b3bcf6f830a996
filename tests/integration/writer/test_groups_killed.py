"""kill -9 in the middle of groups: nothing that was acknowledged is lost, and nothing doubles.

The tests have a PostgreSQL of their own, because they kill it.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from stack.native import Stack
from tests.integration.writer.crowd import lives_of, send
from tests.waiting import wait_until
from tests.whole_stack import empty_stack
from writer import commands as c
from writer.append import Appended, open_async_writer, open_writer
from writer.migrate import migrate
from writer.postgres import open_store

CALLERS = 50
LIVES = 6_000
"""More than a process can send before it is killed."""
KILLS = 3
ACKNOWLEDGED_BETWEEN = 150


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Stack]:
    """PostgreSQL alone, migrated."""
    with empty_stack() as stack:
        stack.up(("postgres",))
        migrate(stack.endpoints.postgres_admin_dsn)
        yield stack


def _commands(seed: int) -> dict[str, c.AnyCommand]:
    return {command.idempotency_key: command for life in lives_of(seed, LIVES) for command in life}


@contextmanager
def running_crowd(stack: Stack, seed: int) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.writer.crowd",
         *map(str, (CALLERS, LIVES, seed))],
        env={**os.environ, **stack.endpoints.environment()},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _assert_acknowledged_once(stack: Stack, acknowledged: dict[str, str], seed: int) -> None:
    """What was printed is stored as it was printed; what is sent again changes nothing of it."""
    known = _commands(seed)
    assert len(acknowledged) >= ACKNOWLEDGED_BETWEEN
    with open_store(stack.endpoints.postgres_dsn) as store:
        streams = store.load_many(list({known[key].payment_id for key in acknowledged}))
    for stream in streams.values():
        assert [event.seq for event in stream] == [*range(1, len(stream) + 1)]
    for key, seqs in acknowledged.items():
        stored = [event for event in streams[known[key].payment_id] if event.idempotency_key == key]
        assert ",".join(str(event.seq) for event in stored) == seqs, key
    with open_writer(stack.endpoints.postgres_dsn) as writer:
        for key, seqs in Random(seed).sample([*acknowledged.items()], 50):
            answer = writer.handle(known[key])
            assert isinstance(answer, Appended)
            assert answer.already_done
            assert ",".join(str(event.seq) for event in answer.events) == seqs


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_writer_has_lost_nothing_that_it_acknowledged(
    own_postgres: Stack, seed: int
) -> None:
    acknowledged: dict[str, str] = {}
    with running_crowd(own_postgres, seed) as process:
        assert process.stdout is not None
        for line in process.stdout:
            key, seqs = line.split()
            acknowledged[key] = seqs
            if len(acknowledged) == ACKNOWLEDGED_BETWEEN * seed:
                process.kill()  # what it has printed until then is still to be read
        process.wait()
    _assert_acknowledged_once(own_postgres, acknowledged, seed)

    # A second process sends the same again; what the first one left half done is finished.
    async def again() -> None:
        async with open_async_writer(own_postgres.endpoints.postgres_dsn) as writer:
            await send(writer, lives_of(seed, LIVES)[:200], CALLERS)

    asyncio.run(again())
    for life in lives_of(seed, LIVES)[:200]:
        with open_store(own_postgres.endpoints.postgres_dsn) as store:
            stream = store.load(life[0].payment_id)
        keys = list(dict.fromkeys(event.idempotency_key for event in stream))
        assert keys == [command.idempotency_key for command in life]


def test_killed_servers_cost_a_crowd_nothing_but_time(own_postgres: Stack) -> None:
    seed = 4
    acknowledged: dict[str, str] = {}
    with running_crowd(own_postgres, seed) as process:
        assert process.stdout is not None
        kills = 0
        for line in process.stdout:
            key, seqs = line.split()
            assert key not in acknowledged
            acknowledged[key] = seqs
            if kills < KILLS and len(acknowledged) >= ACKNOWLEDGED_BETWEEN * (kills + 1):
                own_postgres.kill("postgres")
                kills += 1
                wait_until(lambda: own_postgres.pid("postgres"), "PostgreSQL is started again")
                own_postgres.wait_ready("postgres")
            if len(acknowledged) == ACKNOWLEDGED_BETWEEN * (KILLS + 2):
                process.kill()
    assert kills == KILLS
    _assert_acknowledged_once(own_postgres, acknowledged, seed)

"""Each part between PostgreSQL and the views is broken under traffic and healed by its command.

`purser status` says what is wrong, `purser verify` is not equal, a dry run changes nothing, and
after the repair both are satisfied. Each repair is killed half-way and run again.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from cli.status import Verdict as Health
from cli.status import report as status
from operations.verify import Options, Verdict, VerifySettings, verify
from schemas.topics import DEAD_LETTERS_TOPIC, PAYMENTS_TOPIC, REPLICATION_SLOT
from stack.native import Stack
from tests.waiting import wait_until
from tests.whole_stack import whole_stack
from writer.append import Appended, open_writer
from writer.commands import CreatePayment, OrderLine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

BEFORE = 40
HEAL_SECONDS = 180.0
PAUSE_SECONDS = 0.3
WAL_MEGABYTES = 64


def append(dsn: str, payments: int = 1) -> None:
    with open_writer(dsn) as writer:
        for _ in range(payments):
            answer = writer.handle(
                CreatePayment(
                    idempotency_key=str(uuid4()),
                    occurred_at=datetime.now(UTC),
                    buyer_id="buyer",
                    currency="EUR",
                    psp="stripe",
                    method="card",
                    orders=(OrderLine(order_id=f"o-{uuid4()}", seller_id="s", amount_minor=500),),
                )
            )
            assert isinstance(answer, Appended), answer


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of this module's own, with light traffic until its last test.

    The first events have gone all the way: Kafka Connect makes the topic of its task's first
    record, and would make a topic anew that a test deletes before that record.
    """
    with whole_stack() as stack:
        append(stack.endpoints.postgres_dsn, BEFORE)
        wait_until(lambda: verdict(stack, seconds=1.0) is Verdict.EQUAL, "the first events' views")
        stop = threading.Event()

        def traffic() -> None:
            while not stop.wait(PAUSE_SECONDS):
                append(stack.endpoints.postgres_dsn)

        thread = threading.Thread(target=traffic)
        thread.start()
        yield stack
        stop.set()
        thread.join()


def purser(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    """The command, with only what an operator of this stack has."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PURSER_")}
    home = {
        "PURSER_HOME": str(stack.settings.home),
        "PURSER_PORT_BASE": str(stack.settings.port_base),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        env=kept | home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer_of(stack: Stack, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit status and JSON of a command."""
    with purser(stack, *arguments, "--json") as process:
        out, err = process.communicate(timeout=HEAL_SECONDS)
    assert out, err
    return process.returncode, json.loads(out)


def killed_at(stack: Stack, step: str, *arguments: str) -> None:
    """Run a command and kill -9 it as soon as it has announced this step."""
    with purser(stack, *arguments) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if step in line:
                process.kill()
                break
        else:
            pytest.fail(f"the command never announced {step!r}")
    assert process.returncode == -signal.SIGKILL


def verdict(stack: Stack, seconds: float) -> Verdict:
    settings = VerifySettings(
        postgres_reader_dsn=stack.endpoints.postgres_reader_dsn,
        clickhouse_url=stack.endpoints.clickhouse_url,
    )
    return verify(settings, Options(timeout_seconds=seconds)).verdict


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def topology(stack: Stack) -> object:
    """What a dry run must leave alone."""
    with psycopg.connect(stack.endpoints.postgres_reader_dsn) as session:
        slots = session.execute("SELECT slot_name, wal_status FROM pg_replication_slots").fetchall()
        publications = session.execute("SELECT oid, * FROM pg_publication").fetchall()
    admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
    return slots, publications, sorted(admin.list_topics(timeout=10).topics)


# -- how each part breaks


def drop_publication(stack: Stack) -> None:
    execute(stack.endpoints.postgres_admin_dsn, "DROP PUBLICATION purser")
    append(stack.endpoints.postgres_dsn, 3)


def lose_slot(stack: Stack) -> None:
    """Connect hangs while more WAL is written than PostgreSQL keeps for it."""
    superuser, pid = stack.endpoints.postgres_superuser_dsn, stack.pid("connect")
    assert pid is not None
    execute(
        superuser,
        f"ALTER SYSTEM SET max_slot_wal_keep_size = '{WAL_MEGABYTES}MB'",
        "SELECT pg_reload_conf()",
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3 * WAL_MEGABYTES // 8):
            execute(superuser, "SELECT pg_logical_emit_message(false, 'w', repeat('z', 8388608))")
        append(stack.endpoints.postgres_dsn, 3)
        execute(superuser, "CHECKPOINT")
    finally:
        os.kill(pid, signal.SIGCONT)
        execute(superuser, "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def delete_topics(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
    for deleted in admin.delete_topics([PAYMENTS_TOPIC, DEAD_LETTERS_TOPIC]).values():
        deleted.result()
    append(stack.endpoints.postgres_dsn, 3)


@pytest.mark.parametrize(
    ("part", "break_it", "words", "killed_in"),
    [
        ("publication", drop_publication, "publication purser does not exist", "start the conn"),
        ("slot", lose_slot, f"SLOT {REPLICATION_SLOT} IS LOST (wal_removed)", "forget the conn"),
        ("topic", delete_topics, f"topic {PAYMENTS_TOPIC} does not exist", "wait until Debezium"),
    ],
)
def test_broken_part_is_loud_and_its_command_heals_it(
    stack: Stack,
    part: str,
    break_it: Callable[[Stack], None],
    words: str,
    killed_in: str,
) -> None:
    wait_until(lambda: status(stack).verdict is Health.HEALTHY, "health", seconds=HEAL_SECONDS)
    break_it(stack)
    wait_until(
        lambda: any(words in problem for problem in status(stack).problems),
        f"status says {words!r}",
        seen=lambda: status(stack).problems,
    )
    assert verdict(stack, seconds=1.0) is not Verdict.EQUAL

    before = topology(stack)
    code, planned = answer_of(stack, "repair", part)
    assert (code, planned["status"]) == (1, "needed")
    assert words in str(planned["problems"])
    assert topology(stack) == before

    killed_at(stack, killed_in, "repair", part, "--apply")
    code, healed = answer_of(stack, "repair", part, "--apply", "--timeout", "90")
    assert (code, healed["status"]) == (0, "healed"), healed

    wait_until(
        lambda: status(stack).verdict is Health.HEALTHY,
        "health after the repair",
        seen=lambda: status(stack).problems,
        seconds=HEAL_SECONDS,
    )
    assert verdict(stack, seconds=60.0) is Verdict.EQUAL
    assert answer_of(stack, "repair", part) == (
        0,
        {"status": "nothing to do", "problems": [], "steps": [], "extent": None, "verify": None},
    )

"""Every command that the documentation prints runs as printed, on one stack."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from cli.status import Verdict, report
from operations.bring_up import bring_up
from schemas.topics import PAYMENTS_TOPIC
from stack.native import Stack
from stack.settings import CHECKOUT
from streams.decode import Record
from tests.documentation import PAGES, blocks, fenced, reason_not_to_run
from tests.integration.dead_letters.support import Parked
from tests.waiting import wait_until
from tests.whole_stack import quiet, whole_stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

COMMANDS = {
    page: [line for block in blocks(page) for line in block.lines if not reason_not_to_run(line)]
    for page in PAGES
}
QUERIES = fenced("sql", Path("docs/reference/payments.md"))
PROGRAMS = fenced("python", Path("README.md"))
PARKED = ((3, 1042), (3, 1043))
"""The positions that the page about dead letters names."""
RECORD_SECONDS = 30.0
STATUS = re.compile(r"^@@ (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A stack for these commands alone: they rebuild, stop and start it."""
    with whole_stack() as stack:
        statuses, output = run(
            stack, ["purser import data/online-retail-slice.jsonl.gz", "purser verify"]
        )
        assert statuses == [0, 0], output
        yield stack


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    """The same, running, with two parked records that fold by now, and no replay's old tables."""
    with quiet():
        bring_up(own_stack, print)
    wait_until(
        lambda: report(own_stack).verdict is Verdict.HEALTHY,
        "a healthy stack",
        seen=lambda: report(own_stack).problems,
    )
    statuses, output = run(own_stack, ["purser replay --cleanup"])
    assert statuses == [0], output
    parked = Parked.at(own_stack.endpoints.clickhouse_url)
    try:
        records = some_records(own_stack.endpoints.kafka_bootstrap, len(PARKED))
        for (partition, offset), record in zip(PARKED, records, strict=True):
            moved = record._replace(partition=partition, offset=offset)
            parked.park([moved], reason="newer_schema_version")
    finally:
        parked.close()
    return own_stack


def some_records(bootstrap: str, count: int) -> list[Record]:
    """Records of the topic."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "documented", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(PAYMENTS_TOPIC, 0, 0)])
        messages = consumer.consume(count, RECORD_SECONDS)
        return [
            Record(PAYMENTS_TOPIC, 0, 0, message.timestamp()[1], message.key(), message.value())
            for message in messages
        ]
    finally:
        consumer.close()


def run(stack: Stack, lines: Sequence[str]) -> tuple[list[int], str]:
    """Run lines in one shell, one after the other; their exit statuses, and all output."""
    script = "".join(f"{line}\ns=$?; printf '\\n@@ %s\\n' $s\n" for line in lines)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PURSER_")
    }
    ran = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", script],
        cwd=CHECKOUT,
        env={
            **environment,
            "PATH": f"{CHECKOUT / '.venv' / 'bin'}:{environment['PATH']}",
            "PURSER_HOME": str(stack.home.path),
            "PURSER_PORT_BASE": str(stack.settings.port_base),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(status) for status in STATUS.findall(ran.stdout)], ran.stdout + ran.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if COMMANDS[page]], ids=str)
def test_the_commands_of_a_page_run_as_printed(stack: Stack, page: Path) -> None:
    lines = COMMANDS[page]
    statuses, output = run(stack, lines)
    failed = [line for line, status in zip(lines, statuses, strict=True) if status != 0]
    assert not failed, output


def test_the_readmes_program_appends(stack: Stack) -> None:
    [program] = PROGRAMS
    exec(compile(program, "README.md", "exec"), {"dsn": stack.endpoints.postgres_dsn})
    with psycopg.connect(stack.endpoints.postgres_reader_dsn) as session:
        found = session.execute(
            "SELECT event_type FROM payments WHERE order_id = 'o-81' AND seller_id = 's-7'"
            " ORDER BY seq"
        ).fetchall()
    assert found == [("created",), ("captured",)]


@pytest.mark.parametrize("query", QUERIES)
def test_the_queries_about_payments_run_as_printed(stack: Stack, query: str) -> None:
    with psycopg.connect(stack.endpoints.postgres_reader_dsn) as session:
        assert session.execute(query.encode()).fetchall()

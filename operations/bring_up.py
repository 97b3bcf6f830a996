"""Brings a stack up: servers, schemas, the connector, then the workers.

The command line, the benchmarks and the tests share this code. Every step can be repeated.
"""

import time
from collections.abc import Callable

from connectors.debezium.client import PAUSED, STOPPED, ConnectClient
from connectors.debezium.config import SNAPSHOT_CONDITION, connector_config
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import read_slot
from connectors.debezium.topic import ensure_topic
from connectors.debezium.transaction_version import lower_transaction_version
from schemas.errors import ServiceUnavailable
from sinks.migrate import migrate as migrate_clickhouse
from stack.endpoints import Endpoints
from stack.native import Stack
from stack.settings import HOST
from writer.migrate import migrate as migrate_postgres

CONNECTOR_SECONDS = 60.0
POLL_SECONDS = 0.2


def migrate_all(admin_dsn: str, clickhouse_url: str, say: Callable[[str], None]) -> None:
    """Migrate both databases to the schema of this version."""
    for name in migrate_postgres(admin_dsn):
        say(f"PostgreSQL migration {name} applied")
    for name in migrate_clickhouse(clickhouse_url):
        say(f"ClickHouse migration {name} applied")


def register_connector(
    kafka_bootstrap: str,
    connect_url: str,
    settings: DebeziumSettings,
    say: Callable[[str], None],
) -> bool:
    """Create the topic and the Debezium connector as configured, and restart a failed task.

    Return whether the connector runs. One that was halted, or that a repair has configured, is left
    alone: another snapshot would not belong to its slot, so events could be missing.
    """
    lowered = lower_transaction_version(kafka_bootstrap)
    if lowered:
        say("Kafka's transactions are at version 1 now; restart Kafka Connect when you can")
    ensure_topic(kafka_bootstrap, settings)
    with ConnectClient(connect_url) as client:
        state = client.health(settings.connector).state
        partial = SNAPSHOT_CONDITION in (client.config(settings.connector) or {})
        if partial or state in (STOPPED, PAUSED):
            found = "configured by a repair" if partial else state
            say(
                f"connector {settings.connector} is {found} and was left alone;"
                " `purser repair slot --apply` goes on"
            )
            return False
        registered = client.register(settings.connector, connector_config(settings))
        if not registered and client.health(settings.connector).failed:
            client.restart_failed(settings.connector)
        if lowered:  # a task that runs keeps the old version until it connects anew
            client.restart(settings.connector)
        client.wait_healthy(settings.connector, CONNECTOR_SECONDS)
    say(f"connector {settings.connector} is running")
    return True


def register_local_connector(endpoints: Endpoints, say: Callable[[str], None]) -> None:
    """Create topic and connector for the local stack, whose addresses are known."""
    settings = DebeziumSettings.load(database_host=HOST, database_port=endpoints.postgres_port)
    if register_connector(endpoints.kafka_bootstrap, endpoints.connect_url, settings, say):
        _wait_for_reader(endpoints, settings, say)


def _wait_for_reader(
    endpoints: Endpoints, settings: DebeziumSettings, say: Callable[[str], None]
) -> None:
    """Wait until Debezium reads its slot. A task that keeps retrying counts as RUNNING too.

    Raises ServiceUnavailable if PostgreSQL no longer has the log that Debezium needs.
    """
    deadline = time.monotonic() + CONNECTOR_SECONDS
    while not (slot := read_slot(endpoints.postgres_reader_dsn, settings.slot)).active:
        if slot.lost:
            raise ServiceUnavailable(slot.problems(settings.heartbeat_seconds)[0])
        if time.monotonic() > deadline:
            say(
                "Debezium does not read PostgreSQL's log yet; it may be taking its snapshot,"
                " see `purser status`"
            )
            return
        time.sleep(POLL_SECONDS)


def bring_up(stack: Stack, say: Callable[[str], None], *, servers_only: bool = False) -> None:
    """Start servers, migrate, register the connector, start workers; each step can be repeated."""
    stack.up()
    if servers_only:
        return
    endpoints = stack.endpoints
    migrate_all(endpoints.postgres_admin_dsn, endpoints.clickhouse_url, say)
    register_local_connector(endpoints, say)
    stack.start_workers()

"""Examines every part between PostgreSQL and the views once; changes nothing."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from connectors.debezium.client import ConnectClient, ConnectorHealth
from connectors.debezium.publication import Publication, read_publication
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import SlotHealth, read_slot
from operations.dead_letters import DeadLetters
from operations.health.ends import Ends, compare_ends
from operations.health.settings import HealthSettings
from operations.health.states import LoudState, Problem
from operations.health.topic import TopicHealth, examine_topic
from schemas.errors import PurserError
from schemas.topics import PAYMENTS_TOPIC
from sinks.settings import ClickHouseSettings
from sinks.source_topics import topics_read
from stack.endpoints import Endpoints
from streams.settings import StreamSettings

CONNECT_RETRY_SECONDS = 3.0

Answer = TypeVar("Answer")

_HALTED = (
    LoudState.CONNECTOR_HALTED,
    "no event leaves PostgreSQL; `purser repair slot` starts it",
)
_CONNECTOR_STATES = {
    "UNREGISTERED": (
        LoudState.CONNECTOR_UNREGISTERED,
        "no event leaves PostgreSQL; `purser up` registers it",
    ),
    "PAUSED": _HALTED,
    "STOPPED": _HALTED,
}


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was found; None where a server could not be asked."""

    problems: list[Problem] = field(default_factory=list)
    slot: SlotHealth | None = None
    publication: Publication | None = None
    connector: ConnectorHealth | None = None
    topic: TopicHealth | None = None
    ends: Ends | None = None
    dead_letters_open: int | None = None

    def ask(self, question: Callable[[], Answer]) -> Answer | None:
        """Return the answer; an error becomes a problem instead."""
        try:
            return question()
        except PurserError as error:
            self.problems.append(Problem(state=LoudState.NOT_EXAMINED, text=str(error)))
            return None


def examine(endpoints: Endpoints, running: Collection[str]) -> Findings:
    """Ask those servers that run, in the order of an event's way."""
    found = Findings()
    settings = DebeziumSettings.load()
    if "postgres" in running:
        _examine_postgres(found, endpoints, settings)
    if "connect" in running:
        _examine_connector(found, endpoints, settings)
    clickhouse = ClickHouseSettings.load(endpoints.clickhouse_url)
    if "kafka" in running:
        _examine_topic(found, endpoints, clickhouse="clickhouse" in running)
    if "clickhouse" in running:

        def count_open() -> int:
            with DeadLetters(clickhouse) as letters:
                return letters.count_open()

        found.dead_letters_open = found.ask(count_open)
    if {"postgres", "clickhouse"} <= set(running):
        dsn = endpoints.postgres_reader_dsn
        limit_seconds = HealthSettings.load().status_visible_seconds
        found.ends = found.ask(lambda: compare_ends(dsn, clickhouse, limit_seconds))
        if found.ends is not None:
            found.problems += found.ends.problems()
    return found


def _examine_postgres(found: Findings, endpoints: Endpoints, settings: DebeziumSettings) -> None:
    dsn = endpoints.postgres_reader_dsn
    found.slot = slot = found.ask(lambda: read_slot(dsn, settings.slot))
    if slot is not None:
        found.problems += slot_problems(slot, settings.heartbeat_seconds)
    found.publication = found.ask(lambda: read_publication(dsn, settings.publication))
    if found.publication is not None:
        found.problems += publication_problems(found.publication)


def _examine_connector(found: Findings, endpoints: Endpoints, settings: DebeziumSettings) -> None:
    def ask() -> ConnectorHealth:
        with ConnectClient(endpoints.connect_url, retry_seconds=CONNECT_RETRY_SECONDS) as client:
            return client.health(settings.connector)

    found.connector = connector = found.ask(ask)
    if connector is not None and not connector.healthy:
        found.problems.append(connector_problem(connector))


def _examine_topic(found: Findings, endpoints: Endpoints, *, clickhouse: bool) -> None:
    read = []
    if clickhouse:
        read = found.ask(lambda: topics_read(endpoints.clickhouse_url, PAYMENTS_TOPIC)) or []
    bootstrap = endpoints.kafka_bootstrap
    group = StreamSettings.load(kafka_bootstrap=bootstrap).consumer_group
    found.topic = found.ask(lambda: examine_topic(bootstrap, PAYMENTS_TOPIC, group, read))
    if found.topic is not None:
        found.problems += found.topic.problems()


def slot_problems(slot: SlotHealth, heartbeat_seconds: float) -> list[Problem]:
    """What is wrong with the slot, worst first."""
    state = LoudState.SLOT_LOST if slot.lost else LoudState.SLOT_UNREAD
    if slot.wal_status is None:
        state = LoudState.SLOT_MISSING
    return [Problem(state=state, text=text) for text in slot.problems(heartbeat_seconds)]


def publication_problems(publication: Publication) -> list[Problem]:
    """What is wrong with the publication, worst first."""
    return [
        Problem(
            state=LoudState.PUBLICATION, text=f"{text}; `purser repair publication` makes it anew"
        )
        for text in publication.problems()
    ]


def connector_problem(connector: ConnectorHealth) -> Problem:
    """What is wrong with a connector that is not healthy."""
    if found := _CONNECTOR_STATES.get(connector.state):
        state, hint = found
        return Problem(state=state, text=f"connector {connector.name} is {connector.state}: {hint}")
    return Problem(
        state=LoudState.CONNECTOR_FAILED, text=f"connector {connector.name}: {connector.problem()}"
    )

"""Does the steps of a repair on the real servers. Each step can be repeated.

What the steps need beyond the servers, such as how much to send, is asked anew in every run.
"""

import time
from collections.abc import Callable, Mapping

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from psycopg import sql

from connectors.debezium.client import ConnectClient
from connectors.debezium.config import (
    connector_config,
    with_partial_snapshot,
    with_whole_snapshot,
)
from connectors.debezium.publication import REMAKE
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import read_slot
from connectors.debezium.topic import ensure_topic, topic_config
from operations.repair.extent import measure
from operations.repair.facts import Extent
from operations.repair.look import admin_client, beyond, offsets_of, positions
from operations.repair.patience import Patience
from operations.repair.plan import Step
from operations.repair.settings import RepairSettings
from operations.replay import Options as ReplayOptions
from operations.replay import Replay, ReplaySettings, clean_up, opened
from operations.replay import Step as ReplayStep
from operations.verify import Options as VerifyOptions
from operations.verify import Report, VerifySettings, verify
from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from schemas.topics import VIEWS_CONSUMER
from schemas.views import PAYMENT_EVENTS, PIPELINE_PROGRESS
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings
from sinks.source_topics import forget_other_topics
from streams.source_topic import Brokers, SourceTopic
from streams.views.startup import check_topics

ANSWER_SECONDS = 30.0
CONNECT_SECONDS = 5
POLL_SECONDS = 0.5
LOCK_SECONDS = 30
OnProgress = Callable[[str, int, int], None]


class World:
    """The servers, and what one run of a repair has found out."""

    def __init__(
        self,
        settings: RepairSettings,
        debezium: DebeziumSettings,
        *,
        everything: bool,
        verify_seconds: float,
        on_step: Callable[[str], None],
        on_progress: OnProgress,
    ) -> None:
        self._settings, self._debezium = settings, debezium
        self._everything, self._verify_seconds = everything, verify_seconds
        self._on_step, self._on_progress = on_step, on_progress
        self._url = settings.clickhouse_url.get_secret_value()
        self._connect = ConnectClient(settings.connect_url)
        self.extent: Extent | None = None
        self.verified: Report | None = None

    def close(self) -> None:
        """Close the connection to Kafka Connect."""
        self._connect.close()

    def do(self, step: Step) -> None:
        """Do one step; raises PurserError if it could not be done."""
        self._on_step(step)
        _ACTIONS[step](self)

    # -- topics

    def _create_topic(self) -> None:
        ensure_topic(self._settings.kafka_bootstrap, self._debezium)
        self._topic()

    def _delete_topic(self) -> None:
        name, admin = self._settings.payments_topic, admin_client(self._settings)
        try:
            [done] = admin.delete_topics([name]).values()
            done.result()
        except KafkaException as error:
            raise ServiceUnavailable(
                f"Kafka does not delete topic {name}: {error.args[0].str()}"
            ) from error
        brokers = Brokers(self._settings.kafka_bootstrap, name)
        deadline = time.monotonic() + ANSWER_SECONDS
        while brokers.topic() is not None:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"topic {name} is still being deleted; run the same command again"
                )
            time.sleep(POLL_SECONDS)

    def _topic(self) -> SourceTopic:
        """The topic, once every broker knows it."""
        brokers = Brokers(self._settings.kafka_bootstrap, self._settings.payments_topic)
        deadline = time.monotonic() + ANSWER_SECONDS
        while (topic := brokers.topic()) is None or not topic.partitions:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"topic {self._settings.payments_topic} does not exist; run"
                    " `purser repair topic`"
                )
            time.sleep(POLL_SECONDS)
        return topic

    def _configure_topic(self) -> None:
        wanted = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in topic_config(self._debezium).items()
        ]
        resource = ConfigResource(
            ResourceType.TOPIC, self._settings.payments_topic, incremental_configs=wanted
        )
        admin = admin_client(self._settings)
        try:
            [done] = admin.incremental_alter_configs([resource]).values()
            done.result()
        except KafkaException as error:
            raise ServiceUnavailable(
                f"Kafka refuses the settings of topic {self._settings.payments_topic}:"
                f" {error.args[0].str()}"
            ) from error

    def _create_dead_letters(self) -> None:
        settings = self._settings
        check_topics(settings.kafka_bootstrap, settings.payments_topic, settings.dead_letters_topic)

    # -- PostgreSQL

    def _drop_slot(self) -> None:
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        self._as_owner(
            sql.SQL("SET ROLE {}").format(sql.Identifier(self._debezium.database_user)),
            sql.SQL(drop + " WHERE slot_name = {}").format(sql.Literal(self._debezium.slot)),
        )

    def _make_publication(self) -> None:
        name = sql.Identifier(self._debezium.publication)
        self._as_owner(*(sql.SQL(statement).format(name=name) for statement in REMAKE))

    def _as_owner(self, *statements: sql.Composed) -> None:
        """Run statements in one transaction; waits for locks and for a reader that ends."""
        dsn = self._settings.postgres_admin_dsn.get_secret_value()
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS) as session:
                    session.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
                    for statement in statements:
                        session.execute(statement)
                return
            except psycopg.errors.ObjectInUse as error:
                # Debezium's connection to the slot ends a moment after its task.
                if time.monotonic() > deadline:
                    raise _refused(error) from error
            except psycopg.Error as error:
                raise _refused(error) from error
            time.sleep(POLL_SECONDS)

    # -- the connector

    def _config(self) -> Mapping[str, str]:
        """The configuration as it is, which may differ from ours on purpose; ours without one."""
        found = self._connect.config(self._debezium.connector)
        if found is None:
            return connector_config(self._debezium)
        return with_whole_snapshot({key: text for key, text in found.items() if key != "name"})

    def _stop(self) -> None:
        self._connect.stop(self._debezium.connector)

    def _register_stopped(self) -> None:
        config = connector_config(self._debezium)
        self._connect.register_stopped(self._debezium.connector, config)
        self._stop()  # and wait

    def _register(self) -> None:
        self._connect.register(self._debezium.connector, self._config())

    def _resume(self) -> None:
        self._connect.resume(self._debezium.connector)

    def _forget_offsets(self) -> None:
        self._connect.forget_offsets(self._debezium.connector)

    def _measure(self) -> None:
        self.extent = measure(
            self._settings, everything=self._everything, on_progress=self._on_progress
        )

    def _snapshot(self) -> None:
        config = self._config()
        if self.extent is not None and self.extent.since is not None:
            config = with_partial_snapshot(config, self.extent.since)
        self._connect.register(self._debezium.connector, config)
        self._connect.resume(self._debezium.connector)

    def _await_stream(self) -> None:
        """Wait until Debezium reads its slot, which it does after the snapshot."""
        name, patience = self._debezium.connector, Patience(began=time.monotonic())
        before = sum(self._ends().values())
        total = self.extent.to_send if self.extent is not None else 0
        while True:
            health = self._connect.health(name)
            slot = read_slot(
                self._settings.postgres_reader_dsn.get_secret_value(), self._debezium.slot
            )
            offset = self._connect.offset(name)
            if health.healthy and slot.active and offset and "snapshot" not in offset:
                return
            sent = sum(self._ends().values()) - before
            patience.check(health, sent=sent, active=slot.active, now=time.monotonic())
            self._on_progress("Debezium's snapshot", min(sent, total) if total else sent, total)
            time.sleep(POLL_SECONDS)

    def _whole_config(self) -> None:
        self._connect.register(self._debezium.connector, self._config())
        self._connect.wait_healthy(self._debezium.connector, ANSWER_SECONDS)

    # -- what the views know about the topic

    def _ends(self) -> dict[int, int]:
        topic = self._topic()
        return offsets_of(self._settings, topic.partitions, OffsetSpec.latest())

    def _forget_progress(self) -> None:
        """Forget offsets that the topic does not have; progress made in it stays."""
        known = positions(self._url)[0]  # before the ends, as in `look`
        ends = self._ends()
        stale = [
            f"(partition = {number} AND last_offset BETWEEN {ends.get(number, 0)} AND {offset})"
            for number, offset in beyond(ends, known).items()
        ]
        if not stale:
            return
        settings = ClickHouseSettings.load(self._url)
        with translated(settings.address()), connect(settings) as client:
            client.command(
                f"ALTER TABLE {PIPELINE_PROGRESS.raw} DELETE WHERE topic = {{topic:String}}"
                f" AND consumer = {{consumer:String}} AND ({' OR '.join(stale)})"
                " SETTINGS mutations_sync = 1",
                {"topic": self._settings.payments_topic, "consumer": VIEWS_CONSUMER},
            )

    def _forget_topics(self) -> None:
        forget_other_topics(self._url, self._settings.payments_topic, self._topic().topic_id)

    def _rebuild_positions(self) -> None:
        """Replay payment_events from the topic, unless its rows name only offsets that exist."""
        known = positions(self._url)[1]  # before the ends, as in `look`
        if not beyond(self._ends(), known):
            return
        settings = ReplaySettings.load()
        options = ReplayOptions(
            views=(PAYMENT_EVENTS.name,),
            verify_seconds=self._verify_seconds,
            on_step=self._on_step,
            on_progress=self._on_progress,
        )
        with opened(settings) as (database, lock):
            state = database.state()
            resumable = (
                state is not None
                and state.step is ReplayStep.SWAP
                and state.views == options.views
                and not state.rolled_back
            )
            if state is not None and not resumable:
                clean_up(database)  # its positions, too, are those of the earlier topic
            Replay(settings, options, database, lock).run()
            clean_up(database)

    def _verify(self) -> None:
        self.verified = verify(
            VerifySettings.load(),
            VerifyOptions(timeout_seconds=self._verify_seconds, on_progress=self._on_progress),
        )


def _refused(error: psycopg.Error) -> ServiceUnavailable:
    reason = what_postgres_says(error)
    return ServiceUnavailable(f"PostgreSQL refuses: {reason}; then run the same command again")


_ACTIONS: Mapping[Step, Callable[[World], None]] = {
    Step.DELETE_TOPIC: World._delete_topic,
    Step.CREATE_TOPIC: World._create_topic,
    Step.CONFIGURE_TOPIC: World._configure_topic,
    Step.CREATE_DEAD_LETTERS: World._create_dead_letters,
    Step.STOP_CONNECTOR: World._stop,
    Step.REGISTER_STOPPED: World._register_stopped,
    Step.MEASURE: World._measure,
    Step.DROP_SLOT: World._drop_slot,
    Step.MAKE_PUBLICATION: World._make_publication,
    Step.FORGET_OFFSETS: World._forget_offsets,
    Step.FORGET_PROGRESS: World._forget_progress,
    Step.SNAPSHOT: World._snapshot,
    Step.REGISTER: World._register,
    Step.RESUME: World._resume,
    Step.AWAIT_STREAM: World._await_stream,
    Step.WHOLE_CONFIG: World._whole_config,
    Step.FORGET_LATE_PROGRESS: World._forget_progress,
    Step.FORGET_TOPICS: World._forget_topics,
    Step.REBUILD_POSITIONS: World._rebuild_positions,
    Step.VERIFY: World._verify,
}

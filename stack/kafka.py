"""Kafka of the local stack: one KRaft node that is both broker and controller."""

import base64
import hashlib
import logging
import os
import shutil
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.record_size import MESSAGE_BYTES_MOST
from stack.artifacts import Artifacts
from stack.credentials import Credentials
from stack.endpoints import Endpoints
from stack.layout import Home
from stack.process import Specification
from stack.settings import HOST, StackSettings
from stack.topology import KAFKA, Port

CONFIGURATION_FILE = "server.properties"
JAVA_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}  # else Java cannot open files with non-ASCII names
CORES_FOR_BOTH_COMPILERS = 4
QUICK_COMPILER_ONLY = "-XX:TieredStopAtLevel=1"
"""Java's thorough compiler uses a core for the first minute of a server. With two cores, a
restarted server does not catch up during that time (decision 0021)."""
FORMAT_SECONDS = 120.0
READY_SECONDS = 3.0
TRANSACTIONS = "--feature=transaction.version=1"
"""From the beginning: a Connect that has met version 2 keeps it until it connects anew."""

CONFIGURATION = """\
# Written by `purser up` each time; change stack/kafka.py instead.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
message.max.bytes={message_bytes}
replica.fetch.max.bytes={message_bytes}
group.initial.rebalance.delay.ms=0

# One node, so there is no replication.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
# A killed broker can register again only when its old session has ended, by default after 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# The interval of the check for timed-out transactions. A killed producer's open transaction blocks
# all readers. The interval is also the delay of the first check: a transaction that is ended before
# the broker has registered hangs for ever.
transaction.abort.timed.out.transaction.cleanup.interval.ms=5000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
num.network.threads=2
num.io.threads=4
"""

LOGGING = """\
# Written by `purser up` each time. Logs go to standard output, which supervisord rotates.
status=warn
appenders=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=warn
logger.debezium.name=io.debezium
logger.debezium.level=info
rootLogger.appenderRef.console.ref=console
"""


def prepare(
    settings: StackSettings,
    home: Home,
    credentials: Credentials,
    artifacts: Artifacts,
    java: Path,
) -> Specification:
    """Write the configuration, format a new log folder; return how to run Kafka."""
    folder = home.path / "kafka"
    folder.mkdir(exist_ok=True, mode=0o700)
    configuration = folder / CONFIGURATION_FILE
    configuration.write_text(
        CONFIGURATION.format(
            host=HOST,
            port=settings.port(Port.KAFKA),
            controller_port=settings.port(Port.KAFKA_CONTROLLER),
            message_bytes=MESSAGE_BYTES_MOST,
        ),
        encoding="utf-8",
    )
    command = java_command(settings, folder, java, artifacts)
    if not (folder / "data" / "meta.properties").exists():
        _format(command, folder, cluster_id(credentials))
    return Specification(
        program=KAFKA,
        command=(*command, "kafka.Kafka", configuration.name),
        directory=folder,
        environment=JAVA_ENVIRONMENT,
    )


def cluster_id(credentials: Credentials) -> str:
    """The cluster's id in Kafka's format: 16 bytes as 22 characters, never starting with -."""
    digest = hashlib.sha256(credentials.home_id.encode()).digest()[:16]
    return "P" + base64.urlsafe_b64encode(digest).decode()[1:22]


def java_command(
    settings: StackSettings, folder: Path, java: Path, artifacts: Artifacts
) -> tuple[str, ...]:
    """The start of the command line of a Java server that runs in `folder`.

    Jars and files are named relative to that folder, because a colon or a comma in the checkout's
    path would split a path in two.
    """
    link_to(folder / "lib", artifacts.lib)
    # A killed server leaves its unpacked libraries behind; here they are found and removed.
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()
    (folder / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    few_cores = (os.cpu_count() or 1) < CORES_FOR_BOTH_COMPILERS
    return (
        str(java),
        f"-Xmx{settings.java_heap_megabytes}m",
        "-XX:+UseSerialGC",
        *((QUICK_COMPILER_ONLY,) if few_cores else ()),
        "-XX:+ExitOnOutOfMemoryError",
        "-Dlog4j2.configurationFile=log4j2.properties",
        "-Djava.io.tmpdir=tmp",
        f"-Dpurser.home={settings.home}",  # for people who look at `ps`
        "-cp",
        "lib/*",
    )


def link_to(link: Path, target: Path) -> None:
    """Create a symbolic link, or replace it atomically."""
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _format(command: tuple[str, ...], folder: Path, cluster: str) -> None:
    answer = subprocess.run(
        [
            *command,
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster}",
            f"--config={CONFIGURATION_FILE}",
            TRANSACTIONS,
        ],
        cwd=folder,
        env={**JAVA_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)},
        capture_output=True,
        text=True,
        timeout=FORMAT_SECONDS,
        check=False,
    )
    if answer.returncode != 0:
        reason = " | ".join((answer.stdout + answer.stderr).strip().splitlines()[-3:])
        raise ConfigurationError(f"Kafka cannot format its log folder: {reason}")


def check_ready(endpoints: Endpoints, cluster: str) -> None:
    """Raise ServiceUnavailable unless this stack's Kafka answers, and not another one."""
    client = AdminClient(
        {"bootstrap.servers": endpoints.kafka_bootstrap, "log_level": 0},
        logger=logging.getLogger("purser.kafka"),
    )
    try:
        metadata = client.list_topics(timeout=READY_SECONDS)
    except KafkaException as error:
        raise ServiceUnavailable(f"Kafka does not answer: {error.args[0].str()}") from error
    if metadata.cluster_id != cluster:
        raise ServiceUnavailable(
            f"another Kafka (cluster {metadata.cluster_id}) answers at {endpoints.kafka_bootstrap};"
            " stop it or set PURSER_PORT_BASE"
        )
    if metadata.controller_id < 0:
        # A client that asks for a topic now would wait for a controller until its time is over.
        raise ServiceUnavailable("Kafka answers, but its broker has no controller yet")

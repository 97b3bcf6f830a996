"""Kafka Connect of the local stack, with Debezium as its only plugin."""

from pathlib import Path

import httpx

from schemas.errors import ServiceUnavailable
from schemas.topics import CONNECT_GROUP
from stack.artifacts import Artifacts
from stack.endpoints import Endpoints
from stack.kafka import JAVA_ENVIRONMENT, java_command, link_to
from stack.layout import Home
from stack.local_http import local_get
from stack.process import Specification
from stack.settings import HOST, StackSettings
from stack.topology import CONNECT, Port

READY_SECONDS = 3.0
CDC_PASSWORD_VARIABLE = "PURSER_CDC_PASSWORD"

CONFIGURATION = """\
# Written by `purser up` each time; change stack/connect.py instead.
bootstrap.servers={bootstrap}
group.id={group}
listeners=http://{host}:{port}
rest.advertised.host.name={host}
rest.advertised.port={port}
plugin.path=plugins
plugin.discovery=service_load
exactly.once.source.support=enabled
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
config.storage.topic=purser-connect-configs
config.storage.replication.factor=1
offset.storage.topic=purser-connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=4
status.storage.topic=purser-connect-status
status.storage.replication.factor=1
status.storage.partitions=4
scheduled.rebalance.max.delay.ms=0
session.timeout.ms=10000
heartbeat.interval.ms=3000
offset.flush.interval.ms=5000

# Connectors refer to the database's password as ${{env:{password_variable}}}, so it appears in no
# topic and in no answer of the REST interface.
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
config.providers.env.param.allowlist.pattern={password_variable}
"""


def prepare(
    settings: StackSettings,
    home: Home,
    endpoints: Endpoints,
    artifacts: Artifacts,
    java: Path,
) -> Specification:
    """Write the configuration; return how to run Kafka Connect."""
    folder = home.path / "connect"
    folder.mkdir(exist_ok=True, mode=0o700)
    link_to(folder / "plugins", artifacts.plugins)
    configuration = folder / "connect.properties"
    configuration.write_text(
        CONFIGURATION.format(
            bootstrap=endpoints.kafka_bootstrap,
            group=CONNECT_GROUP,
            host=HOST,
            port=settings.port(Port.CONNECT),
            password_variable=CDC_PASSWORD_VARIABLE,
        ),
        encoding="utf-8",
    )
    return Specification(
        program=CONNECT,
        command=(
            *java_command(settings, folder, java, artifacts),
            "org.apache.kafka.connect.cli.ConnectDistributed",
            configuration.name,
        ),
        directory=folder,
        environment={**JAVA_ENVIRONMENT, CDC_PASSWORD_VARIABLE: endpoints.cdc_password},
    )


def check_ready(endpoints: Endpoints) -> None:
    """Raise ServiceUnavailable unless Connect answers and has joined its group."""
    try:
        # Listing connectors works only after joining the group; the root page answers before.
        answer = local_get(f"{endpoints.connect_url}/connectors", READY_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ServiceUnavailable(f"Kafka Connect does not answer: {error}") from error

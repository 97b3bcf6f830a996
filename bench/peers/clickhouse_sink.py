"""ClickHouse's own Kafka Connect sink, alone in a Kafka Connect process, in two forms.

It is published as an archive with its releases and in no package registry. Unpack that archive
below `build/peers`; without it the section leaves the sink out.

`objects` takes JSON objects. `texts` takes the records' text, so that neither Connect nor the sink
parses anything. Both are tuned: up to 20,000 records at a time, of all partitions together, the
fetches of the other peers, and Java's both compilers.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx
import psutil

from bench.peers.field import Field, end
from bench.peers.landing import OBJECTS, TEXTS, statements
from bench.servers import ANSWER_SECONDS, wait_until
from schemas.errors import ServiceUnavailable
from schemas.views import PAYMENT_EVENTS
from sinks.settings import Address, ClickHouseSettings
from stack.artifacts import ensure_artifacts
from stack.java import find_java
from stack.kafka import JAVA_ENVIRONMENT, QUICK_COMPILER_ONLY, java_command
from stack.layout import last_lines
from stack.local_http import local_get
from stack.ports import lend_port
from stack.settings import CHECKOUT, HOST

PLUGINS = CHECKOUT / "build" / "peers"
ROWS_MAX = 20_000
FETCH_BYTES = 4 * 1024**2
HEAP_MEGABYTES = 1536
START_SECONDS = 120.0
PASSWORD_VARIABLE = "PURSER_BENCH_CLICKHOUSE_PASSWORD"

WORKER = """\
bootstrap.servers={bootstrap}
listeners=http://{host}:{port}
plugin.path={plugins}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=offsets
offset.flush.interval.ms=5000
config.providers=env
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
config.providers.env.param.allowlist.pattern={password_variable}
"""

_TUNED = {
    "connector.class": "com.clickhouse.kafka.connect.ClickHouseSinkConnector",
    "tasks.max": "1",
    "ssl": "false",
    "password": f"${{env:{PASSWORD_VARIABLE}}}",
    "ignorePartitionsWhenBatching": "true",
    "consumer.override.max.poll.records": str(ROWS_MAX),
    "consumer.override.max.partition.fetch.bytes": str(FETCH_BYTES),
    "consumer.override.isolation.level": "read_committed",
    "consumer.override.auto.offset.reset": "earliest",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How records come to the sink: the table that takes them, and the connector's settings."""

    name: str
    table: str
    settings: Mapping[str, str]


FORMS = (
    Form(
        name="ClickHouse sink, JSON objects",
        table=OBJECTS,
        settings={
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "transforms": "place",
            "transforms.place.type": "org.apache.kafka.connect.transforms.InsertField$Value",
            "transforms.place.partition.field": "kafka_partition",
            "transforms.place.offset.field": "kafka_offset",
            "clickhouseSettings": "date_time_input_format=best_effort",
        },
    ),
    Form(
        name="ClickHouse sink, texts",
        table=TEXTS,
        settings={
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "customInsertFormat": "true",
            "insertFormat": "CSV",
            # A line is one text, whole: nothing in a record is a quote or a delimiter.
            "clickhouseSettings": (
                "format_csv_allow_double_quotes=0,format_csv_allow_single_quotes=0,"
                "format_csv_delimiter=\x7f"
            ),
        },
    ),
)


def is_there() -> bool:
    """Whether the sink was unpacked."""
    return any(PLUGINS.rglob("*.jar"))


def create_landing(where: Field) -> None:
    """Create the tables that the sink writes to, and the views that unwrap."""
    found = where.client.query(f"DESCRIBE TABLE {PAYMENT_EVENTS.raw}").result_rows
    for statement in statements({row[0]: row[1] for row in found}):
        where.client.command(statement)


def connector_of(form: Form, topic: str, address: Address) -> dict[str, str]:
    """The connector's configuration."""
    return {
        **_TUNED,
        "hostname": address.host,
        "port": str(address.port),
        "database": address.database,
        "username": address.username,
        "topics": topic,
        "topic2TableMap": f"{topic}={form.table}",
        **form.settings,
    }


@dataclass(slots=True, kw_only=True)
class Sink:
    """A running Kafka Connect; it reads one topic at a time."""

    process: psutil.Popen
    url: str
    log: Path
    address: Address
    form: Form
    _connector: str = field(default="")

    def read(self, topic: str) -> None:
        """Begin to read a topic from its start."""
        self.stop_reading()
        self._connector = f"bench-{uuid4()}"
        answer = httpx.put(
            f"{self.url}/connectors/{self._connector}/config",
            json=connector_of(self.form, topic, self.address),
            timeout=ANSWER_SECONDS,
        )
        if answer.is_error:
            raise ServiceUnavailable(f"{self.form.name}: {answer.text[:1000]}")

    def stop_reading(self) -> None:
        """Stop to read."""
        if self._connector:
            url = f"{self.url}/connectors/{self._connector}"
            httpx.delete(url, timeout=ANSWER_SECONDS).raise_for_status()
            self._connector = ""

    def check(self) -> None:
        """Raise ServiceUnavailable if the connector or its task has failed."""
        status = local_get(f"{self.url}/connectors/{self._connector}/status", ANSWER_SECONDS).json()
        for part in (status.get("connector", {}), *status.get("tasks", ())):
            if part.get("state") == "FAILED":
                raise ServiceUnavailable(f"{self.form.name}: {part.get('trace', '')[:2000]}")

    def answers(self) -> bool:
        """Whether Connect has started."""
        if self.process.poll() is not None:
            raise ServiceUnavailable(f"{self.form.name} ended: {last_lines(self.log)}")
        try:
            return local_get(f"{self.url}/connectors", ANSWER_SECONDS).is_success
        except httpx.TransportError:
            return False


@contextmanager
def running(where: Field, form: Form) -> Iterator[Sink]:
    """A Kafka Connect with the sink as its only plugin, ended at the end."""
    address = ClickHouseSettings.load(where.environment["PURSER_CLICKHOUSE_URL"]).address()
    port = lend_port()
    with TemporaryDirectory(prefix="purser-bench-connect-") as name:
        folder = Path(name)
        (folder / "worker.properties").write_text(
            WORKER.format(
                bootstrap=where.environment["PURSER_KAFKA_BOOTSTRAP"],
                host=HOST,
                port=port,
                plugins=PLUGINS,
                password_variable=PASSWORD_VARIABLE,
            ),
            encoding="utf-8",
        )
        with (folder / "log").open("wb") as log:
            process = psutil.Popen(
                [*_java(where, folder), "worker.properties"],
                cwd=folder,
                env={
                    **JAVA_ENVIRONMENT,
                    "PATH": os.environ.get("PATH", os.defpath),
                    PASSWORD_VARIABLE: address.password,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        sink = Sink(
            process=process,
            url=f"http://{HOST}:{port}",
            log=folder / "log",
            address=address,
            form=form,
        )
        try:
            wait_until(sink.answers, f"{form.name} did not start", seconds=START_SECONDS)
            yield sink
        finally:
            end([process])


def _java(where: Field, folder: Path) -> list[str]:
    settings = where.stack.settings.model_copy(update={"java_heap_megabytes": HEAP_MEGABYTES})
    artifacts = ensure_artifacts(settings.cache, lambda line: None)
    command = java_command(settings, folder, find_java(), artifacts)
    return [
        *(part for part in command if part != QUICK_COMPILER_ONLY),
        "org.apache.kafka.connect.cli.ConnectStandalone",
    ]

"""docker-compose.yml is valid, has no default password, and says what the native stack says."""

import json
import re
import secrets
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from schemas.record_size import MESSAGE_BYTES_MOST
from schemas.topics import CONNECT_GROUP
from stack import connect, kafka, postgres
from stack.compose.secrets import VARIABLES, dotenv
from stack.endpoints import DATABASE
from stack.settings import StackSettings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
POM = {
    element.tag.rpartition("}")[2]: element.text
    for element in ElementTree.parse(ROOT / "stack" / "pom.xml").iter()
    if element.tag.endswith(".version")
}
# Addresses and folders differ in a container; everything else must not.
KAFKA_OF_THE_PLACE = {
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "log.dirs",
}
CONNECT_OF_THE_PLACE = {
    "bootstrap.servers",
    "listeners",
    "rest.advertised.host.name",
    "rest.advertised.port",
    "plugin.path",
}
POSTGRES_OF_THE_PLACE = {
    "data_directory",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "log_timezone",
    "log_line_prefix",
}
# The image's own variables, where it does not take the CONNECT_ form.
CONNECT_RENAMED = {
    "GROUP_ID": "group.id",
    "CONFIG_STORAGE_TOPIC": "config.storage.topic",
    "OFFSET_STORAGE_TOPIC": "offset.storage.topic",
    "STATUS_STORAGE_TOPIC": "status.storage.topic",
    "KEY_CONVERTER": "key.converter",
    "VALUE_CONVERTER": "value.converter",
}


def _properties(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    pairs = (re.split(r"\s*=\s*", line, maxsplit=1) for line in lines)
    return {name: value.strip("'") for name, value in pairs}


def _without(properties: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in properties.items() if name not in names}


def test_compose_file_is_valid_by_the_compose_specification() -> None:
    # The specification's schema as check-jsonschema ships it; only its file is wanted.
    file = distribution("check-jsonschema").locate_file(
        "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
    )
    schema = json.loads(Path(str(file)).read_text())
    jsonschema.validate(COMPOSE, schema)


def test_versions_equal_the_native_stack() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if "image" in service}
    engine = ".".join(version("chdb-core").split(".")[:2])
    assert images["kafka"] == f"apache/kafka:{POM['kafka.version']}"
    assert images["connect"].endswith(f"debezium/connect:{POM['debezium.version']}")
    assert images["clickhouse"] == f"clickhouse/clickhouse-server:{engine}"
    assert images["postgres"] == f"postgres:{postgres.INSTALLATION.removeprefix('pginstall')}"


def test_kafka_settings_equal_the_native_stack() -> None:
    native = kafka.CONFIGURATION.replace("{message_bytes}", str(MESSAGE_BYTES_MOST))
    composed = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in SERVICES["kafka"]["environment"].items()
    }
    assert _without(composed, KAFKA_OF_THE_PLACE) == _without(
        _properties(native), KAFKA_OF_THE_PLACE
    )


def test_connect_settings_equal_the_native_stack() -> None:
    native = connect.CONFIGURATION.replace(
        "{password_variable}", connect.CDC_PASSWORD_VARIABLE
    ).replace("{group}", CONNECT_GROUP)
    environment: dict[str, str] = SERVICES["connect"]["environment"]
    composed = {
        CONNECT_RENAMED.get(name, name.removeprefix("CONNECT_").lower().replace("_", ".")): value
        for name, value in environment.items()
        if name.startswith("CONNECT_") or name in CONNECT_RENAMED
    }
    assert _without(composed, CONNECT_OF_THE_PLACE) == _without(
        _properties(native), CONNECT_OF_THE_PLACE
    )
    assert environment["HEAP_OPTS"] == f"-Xmx{StackSettings().java_heap_megabytes}m"


def test_postgres_settings_equal_the_native_stack() -> None:
    megabytes = StackSettings().postgres_slot_wal_megabytes
    native = postgres.CONFIGURATION.replace("{slot_wal_megabytes}", str(megabytes))
    options = cast("list[str]", SERVICES["postgres"]["command"])[2::2]
    composed = _properties("\n".join(options))
    assert composed == _without(_properties(native), POSTGRES_OF_THE_PLACE)


def test_postgres_logins_equal_the_native_stack() -> None:
    script = (ROOT / "stack/compose/roles.sh").read_text()
    created = re.findall(r"CREATE ROLE (\w+) LOGIN( REPLICATION)?", script)
    assert created == [
        (postgres.OWNER, ""),
        (postgres.WRITER, ""),
        (postgres.CDC, " REPLICATION"),
        (postgres.READER, ""),
    ]
    assert f"\\connect {DATABASE}\n{postgres.REVOKE_LOG_WRITERS}" in script


def test_the_owner_may_act_as_debeziums_role_as_in_the_native_stack() -> None:
    script = (ROOT / "stack/compose/roles.sh").read_text()
    assert f"GRANT {postgres.CDC} TO {postgres.OWNER} WITH INHERIT FALSE, SET TRUE;" in script


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_servers_have_health_checks_and_only_local_ports(name: str) -> None:
    service = SERVICES[name]
    if "profiles" in service:
        assert service["profiles"] == ["purser"]
    else:
        assert service["healthcheck"]["test"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_no_password_has_a_default() -> None:
    variables = re.findall(r"\$\{([A-Z_]*PASSWORD[A-Z_]*)([^}]*)\}", TEXT)
    assert variables
    assert all(rest.startswith(":?") for _, rest in variables)
    literal = re.findall(r"^\s*\w*PASSWORD\w*:\s*(?!\$\{)(\S+)", TEXT, re.MULTILINE)
    assert not literal


def test_generated_secrets_cover_the_file_and_differ_each_time() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]*PASSWORD[A-Z_]*)", TEXT))
    given = dict(line.split("=", 1) for line in dotenv().splitlines())
    assert wanted <= set(given) == set(VARIABLES)
    assert len(set(given.values())) == len(given)
    assert all(len(value) >= len(secrets.token_urlsafe(24)) for value in given.values())
    assert dotenv() != dotenv()


def test_secrets_need_nothing_installed() -> None:
    printed = subprocess.run(
        [sys.executable, "-S", "-m", "stack.compose.secrets"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(printed.stdout.splitlines()) == len(VARIABLES)

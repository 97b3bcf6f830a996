"""Connection strings and passwords: refused by name, and shown nowhere."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cli.migrate import MigrateSettings
from operations.repair.settings import RepairSettings
from operations.replay.settings import ReplaySettings
from operations.verify.settings import VerifySettings
from operations.verify.source import postgres_errors
from schemas.dsn import what_postgres_says
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from schemas.unexpected import without_secrets
from writer.postgres_errors import translate
from writer.settings import WriterSettings

UNREADABLE = (
    "postgres//u:s3cretpw@db/x",
    "postgresql://u:s3cretpw@db/x?y",
    "postgresql://u:s3cret@pw@db/x",
    "postgresql://u:s3cretpw/@db/x",
    "postgresql://u@[s3cretpw/x",
    "host=db password=my s3cretpw",
    "host=db password='s3cretpw",
    "host=db port=s3cretpw",
)
READABLE = (
    "postgresql://u:p%40w@a:1,b:2/x?target_session_attrs=read-write",
    "postgres:///x?host=/run/postgresql",
    "host=a,b port=1, password='my secret pass'",
    "host=@abstract",
    "postgresql://",
)
CLASSES = (MigrateSettings, RepairSettings, ReplaySettings, VerifySettings, WriterSettings)
SETTINGS = [
    (settings, name)
    for settings in CLASSES
    for name in settings.model_fields
    if name.endswith("_dsn")
]


@pytest.mark.parametrize("dsn", UNREADABLE)
@pytest.mark.parametrize(("settings", "field"), SETTINGS)
def test_setting_that_libpq_cannot_read_is_named_and_not_shown(
    settings: type[Settings], field: str, dsn: str
) -> None:
    given = {name: "postgresql://u:p@h/d" for _, name in SETTINGS if name in settings.model_fields}
    with pytest.raises(ConfigurationError) as caught:
        settings.load(**{**given, field: dsn})
    assert str(caught.value).startswith(f"{settings.variable(field)}: is not a PostgreSQL")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("dsn", READABLE)
def test_what_libpq_reads_is_taken(dsn: str) -> None:
    assert WriterSettings.load(postgres_dsn=dsn).postgres_dsn.get_secret_value() == dsn


def test_message_of_libpq_names_the_variable_instead_of_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn = "postgres//u:s3cretpw@db/x"
    monkeypatch.setenv("PURSER_POSTGRES_READER_DSN", dsn)
    with pytest.raises(psycopg.ProgrammingError, match="s3cretpw") as caught:
        conninfo_to_dict(dsn)
    said = what_postgres_says(caught.value)
    assert said.startswith('missing "=" after "PURSER_POSTGRES_READER_DSN"')
    assert "s3cretpw" not in str(translate(caught.value))
    with pytest.raises(ConfigurationError) as refused, postgres_errors():
        raise caught.value
    assert "s3cretpw" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password='my secret pass' host=a", "password='***' host=a"),
        ("password = 'it\\'s mine' host=a", "password = '***' host=a"),
        ('{"password": "my secret pass"}', '{"password": "***"}'),
        ("password=plain host=a", "password=*** host=a"),
        ("password='cut off", "password='***'"),
        ("x?password=plain&b=1", "x?password=***&b=1"),
        ("postgres//u:s3cretpw@db/x", "postgres//u:***@db/x"),
        ("http://u:s3cretpw@db/x", "http://u:***@db/x"),
        ("http://host:80/a and b@c", "http://host:80/a and b@c"),
    ],
)
def test_what_looks_like_a_password_is_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_values_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_POSTGRES_DSN", "host=db password='my own pass'")
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", "http://u:a/b/c@h:8123/d")
    monkeypatch.setenv("OTHER", "http://u:hunter%322@h")
    monkeypatch.setenv("SOME_TOKEN", "tokentoken")
    text = "host=db password='my own pass'; my own pass; http://u:a/b/c@h:8123/d; hunter22"
    assert without_secrets(f"{text}; tokentoken") == (
        "PURSER_POSTGRES_DSN; ***; PURSER_CLICKHOUSE_URL; ***; ***"
    )

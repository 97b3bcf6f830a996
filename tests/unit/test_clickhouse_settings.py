"""How ClickHouse is reached: what is taken, what is refused, what is never shown."""

import pytest

from schemas.errors import ConfigurationError
from sinks.settings import Address, ClickHouseSettings

URL = "http://purser:p%40ss%2Fword@db.example:9000/books"


def test_a_url_has_all_of_it() -> None:
    address = ClickHouseSettings.load(URL).address()
    assert address == Address(
        interface="http",
        host="db.example",
        port=9000,
        username="purser",
        password="p@ss/word",
        database="books",
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", ("h", 8123, "default", "", "purser")),
        ("https://h", ("h", 8443, "default", "", "purser")),
        ("http://u:p@[::1]:1/", ("::1", 1, "u", "p", "purser")),
    ],
)
def test_what_a_url_leaves_out_has_a_default(
    url: str, expected: tuple[str, int, str, str, str]
) -> None:
    found = ClickHouseSettings.load(url).address()
    assert (found.host, found.port, found.username, found.password, found.database) == expected


@pytest.mark.parametrize(
    "url",
    ["clickhouse://u:secret@h/d", "h:8123", "http://u:secret@h:eight", "http://:secret@", "x"],
)
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PURSER_CLICKHOUSE_URL") as caught:
        ClickHouseSettings.load(url)
    assert "secret" not in str(caught.value)


def test_a_missing_url_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PURSER_CLICKHOUSE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="PURSER_CLICKHOUSE_URL: Field required"):
        ClickHouseSettings.load()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", URL)
    monkeypatch.setenv("PURSER_CLICKHOUSE_INSERT_ROWS_MAX", "17")
    settings = ClickHouseSettings.load()
    assert settings.address().host == "db.example"
    assert settings.clickhouse_insert_rows_max == 17


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
@pytest.mark.parametrize(
    "name",
    [
        "CONNECT_SECONDS",
        "REQUEST_SECONDS",
        "INSERTS_MAX",
        "INSERT_ROWS_MAX",
        "COMPRESSION",
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"PURSER_CLICKHOUSE_{name}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        ClickHouseSettings.load(URL)


def test_nothing_shows_the_password() -> None:
    settings = ClickHouseSettings.load(URL)
    shown = f"{settings} {settings!r} {settings.address()} {settings.model_dump_json()}"
    assert "p@ss" not in shown
    assert "p%40ss" not in shown

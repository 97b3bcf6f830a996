"""Who is let in, and as whom."""

from base64 import b64encode
from pathlib import Path

import pytest
from pydantic import SecretStr

from stack.clickhouse_http.auth import Authenticator, User
from stack.clickhouse_http.errors import ClickHouseError
from stack.clickhouse_http.settings import ServerSettings


def authenticator(reader_password: str | None = "look") -> Authenticator:
    return Authenticator(
        ServerSettings(
            path=Path("/nowhere"),
            user="purser",
            password=SecretStr("sécret:with:colons"),
            reader_password=None if reader_password is None else SecretStr(reader_password),
        )
    )


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query", "user"),
    [
        (basic("purser", "sécret:with:colons"), {}, User(name="purser", read_only=False)),
        (basic("purser_reader", "look"), {}, User(name="purser_reader", read_only=True)),
        (
            {"x-clickhouse-user": "purser_reader", "x-clickhouse-key": "look"},
            {},
            User(name="purser_reader", read_only=True),
        ),
        (
            {},
            {"user": "purser_reader", "password": "look"},
            User(name="purser_reader", read_only=True),
        ),
    ],
)
def test_right_password_lets_in(headers: dict[str, str], query: dict[str, str], user: User) -> None:
    assert authenticator().check(headers, query) == user


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        (basic("purser", ""), {}),
        (basic("purser", "look"), {}),
        (basic("purser_reader", ""), {}),
        (basic("nobody", "look"), {}),
        (basic("nobody", ""), {}),
        ({"authorization": "Basic !!!"}, {}),
        ({"authorization": "Basic"}, {}),
        ({"authorization": "Bearer token"}, {}),
        ({}, {"user": "purser"}),
        ({"x-clickhouse-user": "purser"}, {}),
        ({"x-clickhouse-key": "sécret:with:colons"}, {}),
        (basic("purser_reader", "look"), {"user": "purser_reader", "password": "look"}),
        ({**basic("purser_reader", "look"), "x-clickhouse-user": "purser_reader"}, {}),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], query: dict[str, str]) -> None:
    with pytest.raises(ClickHouseError) as raised:
        authenticator().check(headers, query)
    assert (raised.value.code, raised.value.http_status) == (516, 403)


def test_reader_does_not_exist_without_a_password() -> None:
    for password in ("", "None", "look"):
        with pytest.raises(ClickHouseError):
            authenticator(reader_password=None).check(basic("purser_reader", password), {})

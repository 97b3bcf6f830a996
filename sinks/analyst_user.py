"""The analysts' user on a ClickHouse server: it may read the views and nothing else.

A ClickHouse server stores users itself, so `purser migrate` creates this one by SQL. The local
server has it from its start, with rights from the same list (`stack.clickhouse_http`).
"""

import hashlib

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.rights import analyst_rights, analyst_role
from schemas.errors import ConfigurationError
from schemas.sql_words import clickhouse_literal, clickhouse_name
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

_STORES = """
SELECT count() FROM system.user_directories
WHERE type IN ('local_directory', 'memory', 'replicated')
"""


def ensure_reader(clickhouse_url: str, reader_url: str) -> None:
    """Create the reader, or bring its password and its rights up to date.

    Repeatable; run it after `migrate`. Does nothing on a server that stores no users made by SQL.

    Raises:
        ConfigurationError: the reader cannot log in, or the URL is no reader's.
        ServiceUnavailable, WriteRefused: see `sinks.client`.
    """
    settings, reader = ClickHouseSettings.load(clickhouse_url), _load(reader_url)
    address, wanted = settings.address(), reader.address()
    if wanted.username == address.username or not wanted.password:
        raise ConfigurationError(
            "PURSER_CLICKHOUSE_READER_URL: must name a password, and a different user than"
            " PURSER_CLICKHOUSE_URL; give analysts a separate user, such as purser_reader"
        )
    if wanted.database != address.database:
        raise ConfigurationError(
            f"PURSER_CLICKHOUSE_READER_URL: names the database {wanted.database}, but"
            f" PURSER_CLICKHOUSE_URL names {address.database}; end both with the same one"
        )
    with connect(settings) as client, translated(address):
        if _keeps_users(client):
            for statement in reader_sql(address.database, wanted.username, wanted.password):
                client.command(statement)
    _check_login(reader)


def reader_sql(database: str, user: str, password: str) -> list[str]:
    """Statements that create the reader or bring it up to date; none holds the password."""
    rights, role = ", ".join(analyst_rights(database)), clickhouse_name(analyst_role(database))
    digest = hashlib.sha256(password.encode()).hexdigest()
    identified = f"IDENTIFIED WITH sha256_hash BY {clickhouse_literal(digest)}"
    # readonly = 2: settings of a query may be changed, readonly itself may not.
    limits = f"DEFAULT DATABASE {clickhouse_name(database)} SETTINGS readonly = 2 CONST"
    return [
        f"CREATE ROLE IF NOT EXISTS {role}",
        # In one statement, so that a running query never finds the role without its rights.
        f"GRANT {rights} TO {role} WITH REPLACE OPTION",
        f"CREATE USER IF NOT EXISTS {clickhouse_name(user)} {identified} {limits}",
        f"ALTER USER {clickhouse_name(user)} {identified} {limits}",
        # Added, not replaced: the same user may read another database of this server.
        f"GRANT {role} TO {clickhouse_name(user)}",
        f"ALTER USER {clickhouse_name(user)} DEFAULT ROLE ALL",
    ]


def _keeps_users(client: Client) -> bool:
    """Whether the server stores users made by SQL; the local one does not."""
    return bool(client.query(_STORES).result_rows[0][0])


def _load(reader_url: str) -> ClickHouseSettings:
    try:
        return ClickHouseSettings.load(reader_url)
    except ConfigurationError as error:
        text = str(error).replace("PURSER_CLICKHOUSE_URL", "PURSER_CLICKHOUSE_READER_URL")
        raise ConfigurationError(text) from None


def _check_login(reader: ClickHouseSettings) -> None:
    address = reader.address()
    try:
        connect(reader).close()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"PURSER_CLICKHOUSE_READER_URL: ClickHouse at {address.host}:{address.port} does not"
            f" let {address.username} in; correct the password, or define this user in the"
            " server's configuration if it stores no users made by SQL"
        ) from error

"""The analysts' user on a ClickHouse server: it may read the views and nothing else.

A ClickHouse server stores users itself, so `purser migrate` creates this one by SQL. The local
server has it from its start, with rights from the same list (`stack.clickhouse_http`).
"""

import hashlib

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.catalogue import VIEWS
from schemas.clickhouse.generate import literal
from schemas.errors import ConfigurationError
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

ROLE = "purser_analyst"

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
            "PURSER_CLICKHOUSE_READER_URL: names the user of PURSER_CLICKHOUSE_URL, or no password;"
            " give analysts a user of their own, such as purser_reader"
        )
    with connect(settings) as client, translated(address):
        if _keeps_users(client):
            for statement in reader_sql(address.database, wanted.username, wanted.password):
                client.command(statement)
    _check_login(reader)


def reader_sql(database: str, user: str, password: str) -> list[str]:
    """Statements that create the reader or bring it up to date; none holds the password."""
    rights = ", ".join(f"SELECT ON {_name(database)}.{view}" for view in VIEWS)
    digest = hashlib.sha256(password.encode()).hexdigest()
    identified = f"IDENTIFIED WITH sha256_hash BY {literal(digest)}"
    # readonly = 2: settings of a query may be changed, readonly itself may not.
    limits = f"DEFAULT DATABASE {_name(database)} SETTINGS readonly = 2 CONST"
    return [
        f"CREATE ROLE IF NOT EXISTS {ROLE}",
        # In one statement, so that a running query never sees the role without its rights.
        f"GRANT {rights} TO {ROLE} WITH REPLACE OPTION",
        f"CREATE USER IF NOT EXISTS {_name(user)} {identified} {limits}",
        f"ALTER USER {_name(user)} {identified} {limits}",
        f"GRANT {ROLE} TO {_name(user)} WITH REPLACE OPTION",
        f"ALTER USER {_name(user)} DEFAULT ROLE {ROLE}",
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


def _name(text: str) -> str:
    """Return a quoted identifier."""
    escaped = text.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"

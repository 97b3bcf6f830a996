"""PostgreSQL's connection strings: checked where they are read, and shown nowhere.

libpq quotes a string that it cannot read, with the password in it.
"""

from typing import Annotated

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, SecretStr

from schemas.settings import Secret
from schemas.unexpected import without_secrets

EXPECTED = (
    "is not a PostgreSQL connection string; write postgresql://user:password@host:port/database,"
    " with %40 for @, %2F for / and %25 for % in the password"
)


def is_readable(dsn: str) -> bool:
    """Whether libpq can read it and no piece of a password became the host or the port.

    An unescaped @ or / in a password makes such a piece, and libpq's message would show it.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        return False
    hosts, ports = (str(parts.get(name) or "").split(",") for name in ("host", "port"))
    # An abstract socket's name begins with @.
    return not any("@" in host[1:] for host in hosts) and all(
        not port or (port.isascii() and port.isdecimal()) for port in ports
    )


def _checked(dsn: SecretStr) -> SecretStr:
    if not is_readable(dsn.get_secret_value()):
        raise ValueError(EXPECTED)
    return dsn


Dsn = Annotated[Secret, AfterValidator(_checked)]
"""A setting that is a connection string."""


def what_postgres_says(error: psycopg.Error) -> str:
    """The error's text on one line, without secrets."""
    text = error.diag.message_primary or str(error) or repr(error)
    return " ".join(without_secrets(text).split())

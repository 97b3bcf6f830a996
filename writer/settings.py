"""Settings of every process that appends to `payments`."""

from schemas.dsn import Dsn
from schemas.settings import Settings


class WriterSettings(Settings):
    """Where to append.

    A DSN may list several hosts: `host=a,b target_session_attrs=read-write`.
    """

    postgres_dsn: Dsn

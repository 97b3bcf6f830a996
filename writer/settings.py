"""Settings of every process that appends to `payments`."""

from schemas.settings import Secret, Settings


class WriterSettings(Settings):
    """Where to append.

    A DSN may list several hosts: `host=a,b target_session_attrs=read-write`.
    """

    postgres_dsn: Secret

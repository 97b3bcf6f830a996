"""Settings of a verification: two servers to read, nothing to write."""

from schemas.settings import Secret, Settings


class VerifySettings(Settings):
    """Where the source and the views are; PostgreSQL's reader role is enough."""

    postgres_reader_dsn: Secret
    clickhouse_url: Secret
    """`http://user:password@host:port/database`."""

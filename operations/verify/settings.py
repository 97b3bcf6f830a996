"""Settings of a verification: two servers to read from, none to write to."""

from schemas.settings import Secret, Settings


class VerifySettings(Settings):
    """Addresses of the source and the views; PostgreSQL's reader role is sufficient."""

    postgres_reader_dsn: Secret
    clickhouse_url: Secret
    """`http://user:password@host:port/database`."""

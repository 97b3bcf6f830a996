"""Settings of the comparison with a PSP's books; the PSP's own are its connector's."""

from schemas.dsn import Dsn
from schemas.settings import Settings


class BooksSettings(Settings):
    """Where `payments` is; PostgreSQL's reader role is sufficient."""

    postgres_reader_dsn: Dsn

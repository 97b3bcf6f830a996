"""Settings of the server: where the data are, where to listen, and the users."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from schemas.settings import Bytes, Count, Folder, PortNumber, Seconds, Secret, Settings, Text

MIB: Final = 1 << 20
_OPTIONS: Final = ("path", "host", "port")
_OF_URLS: Final = frozenset("?&#%")


def _plain(value: Path) -> Path:
    """Refuse what chDB would read as options; /proc/self/cwd/… can name such a folder."""
    if _OF_URLS & set(str(value)):
        raise ValueError("must hold none of the characters ? & # %: chDB reads them as options")
    return value


class ServerSettings(Settings):
    """Settings from the command line and from `PURSER_CLICKHOUSE_*` in the environment.

    Sizes are bytes, times are seconds. Every queue and every buffer has a limit here.
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_CLICKHOUSE_")

    path: Annotated[Folder, AfterValidator(_plain)]
    host: Text = "127.0.0.1"
    port: PortNumber = 8123
    user: Text
    password: Secret
    reader_user: Text = "purser_reader"
    reader_password: Secret | None = None
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "purser"

    max_concurrent_queries: Count = 32
    queue_wait_seconds: Seconds = 30.0
    min_free_disk_bytes: Annotated[int, Field(ge=64 * MIB)] = 512 * MIB
    max_sessions: Count = 256
    max_server_memory_bytes: Annotated[int, Field(ge=256 * MIB)] = 1024 * MIB
    background_threads: Count = 2
    insert_memory_bytes: Bytes = 4 * MIB
    result_memory_bytes: Bytes = 4 * MIB
    response_buffer_bytes: Bytes = 256 * 1024
    max_statement_bytes: Bytes = 1 * MIB
    transfer_seconds: Seconds = 300.0
    stop_seconds: Count = 10

    reader_max_concurrent_queries: Count = 4
    reader_memory_share: Annotated[float, Field(gt=0, le=0.9)] = 0.6
    """Of the server's memory, for all of the reader's queries together."""
    reader_threads: Count = 4
    """Of one query."""
    reader_seconds: Seconds = 300.0
    """How long one of the reader's queries may run."""
    reader_disk_bytes: Bytes = 1024 * MIB
    """What one of the reader's queries may spill."""
    reader_buffer_bytes: Bytes = 64 * MIB
    """How much of an answer waits for the query's end when the reader asks for that."""

    @classmethod
    def variable(cls, field: str) -> str:
        """The option of what the command line gives, else the environment variable."""
        return f"--{field}" if field in _OPTIONS else super().variable(field)

    def reader_caps(self) -> dict[str, str]:
        """Settings that each of the reader's queries begins with and can only lower."""
        memory = self.max_server_memory_bytes * self.reader_memory_share
        return {
            "max_threads": str(self.reader_threads),
            "max_execution_time": f"{self.reader_seconds:g}",
            "max_memory_usage": str(int(memory / self.reader_max_concurrent_queries)),
            "max_temporary_data_on_disk_size_for_query": str(self.reader_disk_bytes),
        }

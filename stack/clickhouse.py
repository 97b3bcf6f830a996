"""ClickHouse of the local stack: its engine (chDB) behind `stack.clickhouse_http`."""

import sys

import httpx

from schemas.errors import ServiceUnavailable
from stack.endpoints import CLICKHOUSE_READER, CLICKHOUSE_USER, Endpoints
from stack.layout import Home
from stack.local_http import local_get
from stack.process import Specification
from stack.settings import CHECKOUT, HOST, StackSettings
from stack.topology import CLICKHOUSE, Port

# The folder it runs in, by a name without the characters that chDB takes for options (? & # %).
DATA = "/proc/self/cwd/data"
READY_SECONDS = 3.0


def prepare(settings: StackSettings, home: Home, endpoints: Endpoints) -> Specification:
    """Say how to run the ClickHouse server."""
    folder = home.path / "clickhouse"
    folder.mkdir(exist_ok=True, mode=0o700)
    return Specification(
        program=CLICKHOUSE,
        command=(
            sys.executable,
            "-m",
            "stack.clickhouse_http",
            "--path",
            DATA,
            "--host",
            HOST,
            "--port",
            str(settings.port(Port.CLICKHOUSE)),
        ),
        directory=folder,
        environment={
            "PYTHONPATH": str(CHECKOUT),
            "PURSER_CLICKHOUSE_USER": CLICKHOUSE_USER,
            "PURSER_CLICKHOUSE_PASSWORD": endpoints.clickhouse_password,
            "PURSER_CLICKHOUSE_READER_USER": CLICKHOUSE_READER,
            "PURSER_CLICKHOUSE_READER_PASSWORD": endpoints.clickhouse_reader_password,
            "PYTHONUNBUFFERED": "1",
        },
    )


def check_ready(endpoints: Endpoints) -> None:
    """Raise ServiceUnavailable unless the server answers and lets us in."""
    try:
        answer = local_get(endpoints.clickhouse_ping_url, READY_SECONDS)
        answer.raise_for_status()
        if answer.text.strip() != "Ok.":
            raise ServiceUnavailable(
                f"what answers at {endpoints.clickhouse_ping_url} is no ClickHouse server"
            )
    except httpx.HTTPError as error:
        raise ServiceUnavailable(f"ClickHouse does not answer: {error}") from error

"""A worker that cannot begin says why in one line, and waits only for what waiting may cure."""

import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from stack.ports import lend_port
from tests.integration.views.support import CHECKOUT, Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def refused(pipeline: Pipeline, status: int, **settings: Any) -> str:
    """The output of a worker that ends by itself, without a stack trace, with this status."""
    worker = pipeline.start_worker(**settings)
    assert worker.wait_ended() == status, worker.output()
    assert "Traceback" not in worker.output()
    [line] = [line for line in worker.output().splitlines() if line.startswith("purser: ")]
    return line


def test_a_wrong_password_is_refused_at_once(pipeline: Pipeline) -> None:
    url = pipeline.clickhouse_url.replace(pipeline.server.password, "wrong")
    started = time.monotonic()
    line = refused(pipeline, 2, clickhouse_url=url, startup_wait_seconds=60)
    assert "PURSER_CLICKHOUSE_URL" in line
    assert "wrong" not in line
    assert time.monotonic() - started < 30


def test_a_missing_schema_is_refused_and_says_what_to_do(pipeline: Pipeline) -> None:
    pipeline.query("DROP TABLE schema_migrations")
    assert "purser migrate" in refused(pipeline, 2)


def test_a_schema_newer_than_the_code_is_refused(pipeline: Pipeline) -> None:
    pipeline.query("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_future', 'x')")
    assert "newer" in refused(pipeline, 2)


def test_a_taken_metrics_port_is_refused(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(pipeline, 2, worker_metrics_port=port)
    assert f"PURSER_WORKER_METRICS_PORT: {port}" in line


def test_servers_that_stay_away_are_given_up(pipeline: Pipeline) -> None:
    nobody = f"http://purser:x@127.0.0.1:{lend_port()}/purser"
    line = refused(pipeline, 2, clickhouse_url=nobody, startup_wait_seconds=2)
    assert "ClickHouse: gave up after 2 s" in line
    nowhere = f"127.0.0.1:{lend_port()}"
    line = refused(pipeline, 2, kafka_bootstrap=nowhere, startup_wait_seconds=2)
    assert "Kafka: gave up after 2 s" in line
    line = refused(pipeline, 2, payments_topic=f"{pipeline.name}.not", startup_wait_seconds=2)
    assert "does not exist" in line


def test_a_server_that_comes_late_is_waited_for(pipeline: Pipeline) -> None:
    pipeline.server.kill()
    try:
        worker = pipeline.start_worker(startup_wait_seconds=60)
        wait_until(lambda: "waiting for ClickHouse" in worker.output(), "the wait is logged")
    finally:
        pipeline.server.start()
    worker.wait_ready()
    assert "Traceback" not in worker.output()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PURSER_CLICKHOUSE_URL", None),
        ("PURSER_CLICKHOUSE_URL", "nonsense"),
        ("PURSER_KAFKA_BOOTSTRAP", "nonsense"),
        ("PURSER_ROWS_MAX", "0"),
        ("PURSER_LINGER_SECONDS", "-1"),
        ("PURSER_FLOOD_SHARE_MAX", "2"),
        ("PURSER_WORKER_METRICS_PORT", "70000"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str | None) -> None:
    environment = {"PURSER_CLICKHOUSE_URL": "http://purser:secret@127.0.0.1:1/purser"}
    if value is None:
        del environment[variable]
    else:
        environment[variable] = value
    answer = subprocess.run(
        [sys.executable, "-m", "streams.views.worker"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"purser: {variable}: "), answer.stderr
    assert "secret" not in answer.stderr
    assert answer.stderr.count("\n") == 1

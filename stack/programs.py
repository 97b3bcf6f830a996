"""How to run each program of `stack.topology`, and how to check whether it is ready."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx

from schemas.errors import ServiceUnavailable
from stack import clickhouse, connect, kafka, postgres, valkey
from stack.artifacts import ensure_artifacts
from stack.credentials import Credentials
from stack.endpoints import SIMULATOR_WEBHOOK_URL, Endpoints
from stack.java import find_java
from stack.layout import Home
from stack.local_http import local_get
from stack.process import Specification
from stack.settings import CHECKOUT, HOST, StackSettings
from stack.topology import SIMULATOR, Program, program_named

HEALTH_SECONDS = 3.0


def worker_specification(
    worker: Program, settings: StackSettings, endpoints: Endpoints
) -> Specification:
    """How to run a worker: `python -m module`, with the servers' addresses in its environment.

    It gets the variables of `purser env`, PURSER_WORKER_METRICS_PORT, PURSER_WORKER_INSTANCE (its
    name), and every other PURSER_ variable of `purser up`. It serves `/health` on its port: 200 if
    it is healthy, else another status and a JSON object with `reasons`.
    """
    assert worker.module is not None, worker
    given = {name: value for name, value in os.environ.items() if name.startswith("PURSER_")}
    return Specification(
        program=worker,
        command=(sys.executable, "-m", worker.module),
        directory=CHECKOUT,
        environment={
            **given,
            **endpoints.outside(given),
            **endpoints.environment(),
            "PURSER_HOME": str(settings.home),
            "PURSER_PORT_BASE": str(settings.port_base),
            "PURSER_WORKER_METRICS_PORT": str(settings.port(worker.ports[0])),
            **{name: str(settings.port(port)) for name, port in worker.port_variables.items()},
            "PURSER_WORKER_INSTANCE": worker.name,
            "PYTHONUNBUFFERED": "1",
            **(_simulator(endpoints, given) if worker is SIMULATOR else {}),
        },
    )


def _simulator(endpoints: Endpoints, given: Mapping[str, str]) -> dict[str, str]:
    """What is added for the simulators; another address for their webhooks takes precedence."""
    name = SIMULATOR_WEBHOOK_URL
    return endpoints.simulator(given) | {each: given[each] for each in (name,) if each in given}


def worker_health(worker: Program, settings: StackSettings) -> tuple[bool, dict[str, Any]]:
    """Whether a worker reports itself healthy, and its report (`lag_records`, `reasons`).

    Raises ServiceUnavailable if it does not answer.
    """
    url = f"http://{HOST}:{settings.port(worker.ports[0])}/health"
    try:
        answer = local_get(url, HEALTH_SECONDS)
        return answer.is_success, dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceUnavailable(f"{worker.name} does not answer at {url}: {error}") from error


def prepare_servers(
    names: Collection[str],
    settings: StackSettings,
    home: Home,
    credentials: Credentials,
    say: Callable[[str], None],
) -> None:
    """Write configurations and launch specifications of the servers to start.

    Raises ConfigurationError if a prerequisite is missing.
    """
    endpoints = Endpoints.of(settings, credentials)
    specifications: list[Specification] = []
    if "kafka" in names or "connect" in names:
        java = find_java()
        artifacts = ensure_artifacts(settings.cache, say)
        if "kafka" in names:
            specifications.append(kafka.prepare(settings, home, credentials, artifacts, java))
        if "connect" in names:
            specifications.append(connect.prepare(settings, home, endpoints, artifacts, java))
    if "postgres" in names:
        specifications.append(postgres.prepare(settings, home, credentials))
    if "clickhouse" in names:
        specifications.append(clickhouse.prepare(settings, home, endpoints))
    if "valkey" in names:
        specifications.append(valkey.prepare(settings, home, credentials))
    for specification in specifications:
        specification.write(home)


def check_ready(name: str, settings: StackSettings, credentials: Credentials) -> None:
    """Raise ServiceUnavailable unless a running process also answers correctly."""
    endpoints = Endpoints.of(settings, credentials)
    servers: dict[str, Callable[[], None]] = {
        "postgres": lambda: postgres.check_ready(endpoints),
        "kafka": lambda: kafka.check_ready(endpoints, kafka.cluster_id(credentials)),
        "connect": lambda: connect.check_ready(endpoints),
        "clickhouse": lambda: clickhouse.check_ready(endpoints),
        "valkey": lambda: valkey.check_ready(settings, credentials),
    }
    if check := servers.get(name):
        check()
        return
    well, report = worker_health(program_named(name), settings)
    if not well:
        reasons = "; ".join(str(reason) for reason in report.get("reasons", ()))
        raise ServiceUnavailable(f"{name} is unhealthy: {reasons or 'no reason'}")

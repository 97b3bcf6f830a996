"""Everything the stack runs: the servers, and our own workers in one table."""

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.errors import ServiceUnavailable
from stack import clickhouse, connect, kafka, postgres
from stack.artifacts import ensure_artifacts
from stack.credentials import Credentials
from stack.endpoints import Endpoints
from stack.java import find_java
from stack.layout import Home
from stack.process import Program, Specification
from stack.settings import CHECKOUT, HOST, Port, StackSettings

HEALTH_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process of ours: `python -m module`, told where everything is by its environment.

    It gets what `purser env` prints, PURSER_WORKER_METRICS_PORT, PURSER_WORKER_INSTANCE (its
    name), and any other PURSER_ variable that `purser up` was given. It answers `/health` on its
    metrics port: 200 when it is well, else another status and a JSON object with `reasons`.
    """

    program: Program
    module: str
    metrics_port: Port

    def specification(self, settings: StackSettings, endpoints: Endpoints) -> Specification:
        """How to run it."""
        given = {name: value for name, value in os.environ.items() if name.startswith("PURSER_")}
        return Specification(
            program=self.program,
            command=(sys.executable, "-m", self.module),
            directory=CHECKOUT,
            environment={
                **given,
                **endpoints.environment(),
                "PURSER_HOME": str(settings.home),
                "PURSER_PORT_BASE": str(settings.port_base),
                "PURSER_WORKER_METRICS_PORT": str(settings.port(self.metrics_port)),
                "PURSER_WORKER_INSTANCE": self.program.name,
                "PYTHONUNBUFFERED": "1",
            },
        )

    def health(self, settings: StackSettings) -> tuple[bool, dict[str, Any]]:
        """Whether the worker says it is well, and its report (with `lag_records` and `reasons`).

        Raises ServiceUnavailable when it does not answer.
        """
        url = f"http://{HOST}:{settings.port(self.metrics_port)}/health"
        try:
            answer = httpx.get(url, timeout=HEALTH_SECONDS)
            return answer.is_success, dict(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceUnavailable(
                f"{self.program.name} does not answer at {url}: {error}"
            ) from error

    def check_ready(self, settings: StackSettings) -> None:
        """Raise ServiceUnavailable, with its own reasons, unless the worker says it is well."""
        well, report = self.health(settings)
        if not well:
            reasons = "; ".join(str(reason) for reason in report.get("reasons", ()))
            raise ServiceUnavailable(f"{self.program.name} is unhealthy: {reasons or 'no reason'}")


SERVERS = (postgres.PROGRAM, kafka.PROGRAM, clickhouse.PROGRAM, connect.PROGRAM)

VIEWS_WORKERS = tuple(
    Worker(
        program=Program(name=name, stop_seconds=15, after=("connect", "clickhouse")),
        module="streams.worker",
        metrics_port=port,
    )
    for name, port in (
        ("views-worker", Port.WORKER_METRICS),
        ("views-worker-2", Port.WORKER_METRICS_2),
        ("views-worker-3", Port.WORKER_METRICS_3),
        ("views-worker-4", Port.WORKER_METRICS_4),
    )
)
# A worker of ours more is an entry here, and a port in stack.settings.Port.
OTHER_WORKERS: tuple[Worker, ...] = (
    Worker(
        program=Program(name="connector-keeper", after=("connect",)),
        module="connectors.debezium.keeper",
        metrics_port=Port.KEEPER_HEALTH,
    ),
)
WORKERS = (*VIEWS_WORKERS, *OTHER_WORKERS)


def workers_of(settings: StackSettings) -> tuple[Worker, ...]:
    """The workers that a stack is to run: as many for the views as its settings say."""
    return (*VIEWS_WORKERS[: settings.views_workers], *OTHER_WORKERS)


def programs_of(settings: StackSettings) -> tuple[Program, ...]:
    """What a stack is to run; supervisord knows the other ones, too, and leaves them stopped."""
    return (*SERVERS, *(worker.program for worker in workers_of(settings)))


PROGRAMS = (*SERVERS, *(worker.program for worker in WORKERS))
SERVER_NAMES = tuple(program.name for program in SERVERS)
WORKER_NAMES = tuple(each.program.name for each in (VIEWS_WORKERS[0], *OTHER_WORKERS))
"""Workers of ours that every stack runs."""
VIEWS_WORKER_NAMES = tuple(worker.program.name for worker in VIEWS_WORKERS)
PORTS: dict[str, tuple[Port, ...]] = {
    "postgres": (Port.POSTGRES,),
    "kafka": (Port.KAFKA, Port.KAFKA_CONTROLLER),
    "clickhouse": (Port.CLICKHOUSE,),
    "connect": (Port.CONNECT,),
    **{worker.program.name: (worker.metrics_port,) for worker in WORKERS},
}


def prepare_servers(
    names: Collection[str],
    settings: StackSettings,
    home: Home,
    credentials: Credentials,
    say: Callable[[str], None],
) -> None:
    """Write configurations and launch specifications of servers that are to be started.

    Raises ConfigurationError when a prerequisite is missing.
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
    for specification in specifications:
        specification.write(home)


def check_ready(name: str, settings: StackSettings, credentials: Credentials) -> None:
    """Raise ServiceUnavailable unless a process that runs also answers as it should."""
    endpoints = Endpoints.of(settings, credentials)
    checks: dict[str, Callable[[], None]] = {
        "postgres": lambda: postgres.check_ready(endpoints),
        "kafka": lambda: kafka.check_ready(endpoints, kafka.cluster_id(credentials)),
        "connect": lambda: connect.check_ready(endpoints),
        "clickhouse": lambda: clickhouse.check_ready(endpoints),
    }
    for worker in WORKERS:
        checks[worker.program.name] = lambda worker=worker: worker.check_ready(settings)  # type: ignore[misc]
    checks[name]()

"""The programs of the local stack as data: their ports, and the programs that each one needs.

Every other module of this package reads these tables, which import nothing. To add a process, add a
port and a program here. A server also needs a module that says how to run it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

BEHIND = 10
"""Nice value of programs that nobody waits for. Whoever pays waits for the API and for PostgreSQL.
On a busy machine views then fall behind for a moment, and answers do not."""

PORTS_RESERVED = 32
"""Consecutive ports reserved for one stack; some are for future servers."""


class Port(StrEnum):
    """The ports of a stack; a port's number is PURSER_PORT_BASE plus its position in this list."""

    POSTGRES = "postgres"
    KAFKA = "kafka"
    KAFKA_CONTROLLER = "kafka-controller"
    CONNECT = "connect"
    CLICKHOUSE = "clickhouse"
    WORKER_METRICS = "worker-metrics"
    CONNECTOR_SUPERVISOR_HEALTH = "connector-supervisor-health"
    WORKER_METRICS_2 = "worker-metrics-2"
    WORKER_METRICS_3 = "worker-metrics-3"
    WORKER_METRICS_4 = "worker-metrics-4"
    API = "api"
    API_METRICS = "api-metrics"
    VALKEY = "valkey"
    SIMULATOR = "simulator"
    PAYINS_WORKER_HEALTH = "payins-worker-health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process that the stack knows by name.

    - `ports`: the ports it listens on. A worker serves `/health` on the first one.
    - `port_variables`: variables that tell it the numbers of its further ports.
    - `after`: programs that must be ready before it starts. It is stopped before them.
    - `module`: the module that `python -m` runs for a worker; None for a server.
    - `stop_signal`, `stop_seconds`: how to stop it gently, and how long to wait.
    - `nice`: its nice value; the higher it is, the more it leaves to others.
    """

    name: str
    ports: tuple[Port, ...] = ()
    port_variables: Mapping[str, Port] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    module: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    nice: int = 0


# INT is PostgreSQL's fast shutdown: it ends sessions and writes a checkpoint.
POSTGRES = Program(name="postgres", ports=(Port.POSTGRES,), stop_signal="INT")
KAFKA = Program(name="kafka", ports=(Port.KAFKA, Port.KAFKA_CONTROLLER))
CLICKHOUSE = Program(name="clickhouse", ports=(Port.CLICKHOUSE,), nice=BEHIND)
CONNECT = Program(name="connect", ports=(Port.CONNECT,), after=("kafka",), nice=BEHIND)
# It speaks Redis. What it keeps can be lost at any time, so it keeps nothing on disk.
VALKEY = Program(name="valkey", ports=(Port.VALKEY,), stop_seconds=5)
SERVERS = (POSTGRES, KAFKA, CLICKHOUSE, CONNECT, VALKEY)

VIEWS_WORKERS = tuple(
    Program(
        name=name,
        ports=(port,),
        after=("connect", "clickhouse"),
        module="streams.views.worker",
        stop_seconds=15,
        nice=BEHIND,
    )
    for name, port in (
        ("views-worker", Port.WORKER_METRICS),
        ("views-worker-2", Port.WORKER_METRICS_2),
        ("views-worker-3", Port.WORKER_METRICS_3),
        ("views-worker-4", Port.WORKER_METRICS_4),
    )
)
CONNECTOR_SUPERVISOR = Program(
    name="connector-supervisor",
    ports=(Port.CONNECTOR_SUPERVISOR_HEALTH,),
    after=("connect",),
    module="connectors.debezium.supervisor",
)
API = Program(
    name="api",
    ports=(Port.API_METRICS, Port.API),
    port_variables={"PURSER_API_PORT": Port.API},
    after=("postgres", "clickhouse", "valkey", "simulator"),
    module="service.main",
)
# Its API, its pages and /health are on one port.
SIMULATOR = Program(
    name="simulator", ports=(Port.SIMULATOR,), module="simulators.main", stop_seconds=10
)
PAYINS_WORKER = Program(
    name="payins-worker",
    ports=(Port.PAYINS_WORKER_HEALTH,),
    after=("connect", "postgres", "simulator"),
    module="payins.worker",
    stop_seconds=15,
    nice=BEHIND,
)
OTHER_WORKERS = (CONNECTOR_SUPERVISOR, SIMULATOR, PAYINS_WORKER, API)
WORKERS = (*VIEWS_WORKERS, *OTHER_WORKERS)

PROGRAMS = (*SERVERS, *WORKERS)
"""All programs in supervisord's configuration; the settings say how many views workers run."""

SERVER_NAMES = tuple(program.name for program in SERVERS)
VIEWS_WORKER_NAMES = tuple(program.name for program in VIEWS_WORKERS)


def program_named(name: str) -> Program:
    """The program of that name; raises StopIteration for a name that is not in `PROGRAMS`."""
    return next(program for program in PROGRAMS if program.name == name)


def workers_of(views_workers: int) -> tuple[Program, ...]:
    """The workers of a stack with this many views workers."""
    return (*VIEWS_WORKERS[:views_workers], *OTHER_WORKERS)


def programs_of(views_workers: int) -> tuple[Program, ...]:
    """The programs of a stack with this many views workers."""
    return (*SERVERS, *workers_of(views_workers))

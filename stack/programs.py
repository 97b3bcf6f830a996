"""Everything the stack runs: the servers, and our own workers in one table."""

import os
import sys
from dataclasses import dataclass

from stack import clickhouse, connect, kafka, postgres
from stack.endpoints import Endpoints
from stack.process import Program, Specification
from stack.settings import CHECKOUT, Port, StackSettings

SERVERS = (postgres.PROGRAM, kafka.PROGRAM, clickhouse.PROGRAM, connect.PROGRAM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process of ours: `python -m module`, told where everything is by its environment.

    It gets what `purser env` prints, PURSER_WORKER_METRICS_PORT, and any other PURSER_ variable
    that `purser up` was given.
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
                "PYTHONUNBUFFERED": "1",
            },
        )


# A worker of ours more is a line here, and a port in stack.settings.Port.
WORKERS: tuple[Worker, ...] = (
    Worker(
        program=Program(name="views-worker", stop_seconds=15, after=("connect", "clickhouse")),
        module="streams.worker",
        metrics_port=Port.WORKER_METRICS,
    ),
)

PROGRAMS = (*SERVERS, *(worker.program for worker in WORKERS))
PORTS = {
    "postgres": (Port.POSTGRES,),
    "kafka": (Port.KAFKA, Port.KAFKA_CONTROLLER),
    "clickhouse": (Port.CLICKHOUSE,),
    "connect": (Port.CONNECT,),
    **{worker.program.name: (worker.metrics_port,) for worker in WORKERS},
}

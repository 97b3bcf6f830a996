"""Keeps the connector working: restarts a FAILED connector or task, which Connect never does.

`python -m connectors.debezium.supervisor` runs beside the servers. If PostgreSQL or Kafka dies
while Debezium's task starts, the task ends as FAILED, whatever its retry settings are, and would
stay FAILED. A restart does not cure everything. After a lost slot, for example, the task fails
again. The supervisor then waits longer between attempts and reports itself unhealthy.

It also ends transactions that Kafka left open (`hanging_transactions`) and those that a killed
Connect left open (`orphaned_transactions`), and reports a version of Kafka's transactions with
which Connect can stop for ever (`transaction_version`).
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Annotated, NoReturn, Protocol, Self

import uvicorn
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from connectors.debezium.client import ConnectClient, ConnectorHealth
from connectors.debezium.hanging_transactions import HangingTransactionRepair
from connectors.debezium.orphaned_transactions import OrphanedTransactionRepair
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.transaction_version import TransactionVersionCheck
from schemas.errors import PurserError
from schemas.runtime import entry_point
from schemas.settings import Bootstrap, GroupName, PortNumber, Settings
from schemas.topics import CONNECT_GROUP

LOOK_SECONDS = 2.0
LOOK_SECONDS_MOST = 60.0
"""Well above the sum of the time limits of one check's requests."""
ANSWER_SECONDS = 10.0
STOP_SECONDS = 2.0
PAUSE_SECONDS_FIRST = 2.0
PAUSE_SECONDS_MOST = 60.0

_log = logging.getLogger("purser.connector-supervisor")


class SupervisorSettings(Settings):
    """Addresses of the servers and the port of /health."""

    connect_url: Annotated[str, Field(pattern=r"^https?://")]
    kafka_bootstrap: Bootstrap
    connect_group: GroupName = CONNECT_GROUP
    worker_metrics_port: PortNumber

    def transactional_id(self, connector: str) -> str:
        """The id under which Connect writes the events. There is one task, numbered 0."""
        return f"{self.connect_group}-{connector}-0"


@dataclass(slots=True, kw_only=True)
class RestartPolicy:
    """Decides when to restart: immediately, then after pauses that double. Pure."""

    pause_seconds: float = 0.0
    restart_at: float = 0.0

    @property
    def keeps_failing(self) -> bool:
        """Whether a restart did not help the last time."""
        return self.pause_seconds > PAUSE_SECONDS_FIRST

    def decide(self, health: ConnectorHealth, now: float) -> bool:
        """Whether to restart now; `now` is monotonic seconds."""
        if health.healthy and now >= self.restart_at:
            # It has worked for as long as the last pause, so the next failure is a new one.
            self.pause_seconds = 0.0
        if not health.failed or now < self.restart_at:
            return False
        self.pause_seconds = min(
            PAUSE_SECONDS_MOST, max(PAUSE_SECONDS_FIRST, 2 * self.pause_seconds)
        )
        self.restart_at = now + self.pause_seconds
        return True


class Repair(Protocol):
    """Checks one thing repeatedly, in a separate thread, and repairs it."""

    reasons: tuple[str, ...]
    """The current problems; empty if there are none."""

    def look(self, now: float) -> None:
        """Check once and repair if possible; `now` is monotonic seconds."""

    def report(self) -> dict[str, object]:
        """Values that /health returns beside the reasons."""


class ConnectorRepair:
    """Checks the connector, restarts its failed parts, and reports current problems."""

    def __init__(self, client: ConnectClient, connector: str) -> None:
        self.reasons: tuple[str, ...] = ("has not checked the connector yet",)
        self.restarts = 0
        self._failure = ""
        self._client = client
        self._connector = connector
        self._policy = RestartPolicy()

    def look(self, now: float) -> None:
        """Check once and restart if it is time; never raises a server's errors."""
        try:
            health = self._client.health(self._connector)
            if health.failed:
                self._failure = health.problem()
            if self._policy.decide(health, now):
                _log.warning("restarting connector %s: %s", self._connector, health.problem())
                self._client.restart_failed(self._connector)
                self.restarts += 1
            # One that is paused or unregistered is left alone, but no event leaves PostgreSQL.
            self.reasons = () if health.healthy else (health.problem(),)
            if health.healthy and self._policy.keeps_failing:
                # Between two failures Connect calls the task RUNNING and has forgotten the error.
                self.reasons = (f"the connector keeps failing: {self._failure}",)
        except PurserError as error:
            self.reasons = (str(error),)

    def report(self) -> dict[str, object]:
        """The number of restarts."""
        return {"restarts": self.restarts}


class Rounds:
    """Runs each repair every few seconds, in a separate thread, for the duration of a `with`.

    A check that does not end is reported, because the last result would otherwise stay valid.
    """

    def __init__(
        self,
        *repairs: Repair,
        seconds: float = LOOK_SECONDS,
        seconds_most: float = LOOK_SECONDS_MOST,
    ) -> None:
        self._repairs = repairs
        self._seconds = seconds
        self._seconds_most = seconds_most
        self._began_at: dict[str, float] = {}
        self._stop = threading.Event()
        # A repair that waits for its server must not block the others.
        self._threads = [
            threading.Thread(target=self._run, args=(repair,), name=_name(repair), daemon=True)
            for repair in repairs
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def reasons(self) -> list[str]:
        """The current problems of all repairs; empty if there are none."""
        now = time.monotonic()
        stuck = [
            f"{name} has been checking for {now - began_at:.0f} s; restart the connector supervisor"
            for name, began_at in self._began_at.copy().items()
            if now - began_at > self._seconds_most
        ]
        return stuck + [reason for repair in self._repairs for reason in repair.reasons]

    def report(self) -> dict[str, object]:
        """The values that the repairs report beside the reasons."""
        values: dict[str, object] = {}
        for repair in self._repairs:
            values |= repair.report()
        return values

    def _run(self, repair: Repair) -> None:
        name = _name(repair)
        while not self._stop.is_set():
            self._began_at[name] = time.monotonic()
            try:
                repair.look(time.monotonic())
            except Exception as error:  # noqa: BLE001 - /health reports it, and the next check may work
                _log.exception("%s failed", name)
                repair.reasons = (f"{name} failed: {error!r}",)
            del self._began_at[name]
            self._stop.wait(self._seconds)


def _name(repair: Repair) -> str:
    return type(repair).__name__


def application(rounds: Rounds) -> Starlette:
    """`GET /health`: 200 or 503 with the reasons."""

    async def health(_request: Request) -> JSONResponse:
        reasons = rounds.reasons()
        answer = {"status": "unhealthy" if reasons else "healthy", "reasons": reasons}
        return JSONResponse(answer | rounds.report(), status_code=503 if reasons else 200)

    return Starlette(routes=[Route("/health", health)])


@entry_point
def main() -> NoReturn:
    """Run until told to stop."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # /health reports problems better
    settings = SupervisorSettings.load()
    connector = DebeziumSettings.load().connector
    with ConnectClient(settings.connect_url, retry_seconds=ANSWER_SECONDS) as client:
        repairs = (
            ConnectorRepair(client, connector),
            OrphanedTransactionRepair(
                settings.connect_url,
                settings.kafka_bootstrap,
                settings.transactional_id(connector),
            ),
            HangingTransactionRepair(settings.kafka_bootstrap),
            TransactionVersionCheck(settings.kafka_bootstrap),
        )
        with Rounds(*repairs) as rounds:
            uvicorn.run(
                application(rounds),
                host="127.0.0.1",
                port=settings.worker_metrics_port,
                log_level="warning",
            )
    raise SystemExit(0)


if __name__ == "__main__":
    main()

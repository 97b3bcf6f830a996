"""Keeps the connector working: restarts what has FAILED, which Kafka Connect never does.

`python -m connectors.debezium.supervisor` runs beside the servers. When PostgreSQL or Kafka dies
at the wrong moment, Debezium's task ends as FAILED, whatever its settings for retries say, and
would stay so. A restart does not cure everything: after a lost slot, for example, the task fails
again. Then the supervisor waits longer between attempts and stays unhealthy, so that people see it.

It also ends transactions that Kafka left open (`hanging_transactions`) and those that a killed
Connect left open (`orphaned_transactions`).
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import NoReturn, Protocol, Self

import uvicorn
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from connectors.debezium.client import ConnectClient, ConnectorHealth
from connectors.debezium.hanging_transactions import HangingTransactionRepair
from connectors.debezium.orphaned_transactions import OrphanedTransactionRepair
from schemas.errors import ConfigurationError, PurserError
from schemas.runtime import entry_point
from schemas.topics import CONNECT_GROUP, CONNECTOR

LOOK_SECONDS = 2.0
LOOK_SECONDS_MOST = 60.0
"""Well above what the time limits of one look's requests add up to."""
ANSWER_SECONDS = 10.0
STOP_SECONDS = 2.0
PAUSE_SECONDS_FIRST = 2.0
PAUSE_SECONDS_MOST = 60.0

_log = logging.getLogger("purser.connector-supervisor")


class SupervisorSettings(BaseSettings):
    """Where the servers are, where the repair answers; environment names begin with `PURSER_`."""

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True, extra="ignore")

    connect_url: str = Field(pattern=r"^https?://")
    kafka_bootstrap: str = Field(min_length=1)
    connector: str = CONNECTOR
    connect_group: str = CONNECT_GROUP
    worker_metrics_port: int = Field(gt=0, le=65_535)

    @property
    def transactional_id(self) -> str:
        """What Connect writes the events under: one slot is one task."""
        return f"{self.connect_group}-{self.connector}-0"

    @classmethod
    def load(cls) -> Self:
        """Read the environment; raises ConfigurationError naming the variable that is wrong."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            variable = "PURSER_" + "_".join(str(part) for part in first["loc"]).upper()
            raise ConfigurationError(
                f"{variable}: {first['msg']}; set it, `purser env` prints it for the local stack"
            ) from None


@dataclass(slots=True, kw_only=True)
class RestartPolicy:
    """When to restart what has failed: at once, then after pauses that double. Pure."""

    pause_seconds: float = 0.0
    restart_at: float = 0.0

    def decide(self, health: ConnectorHealth, now: float) -> bool:
        """Whether to restart now; `now` is monotonic seconds."""
        if health.healthy and now >= self.restart_at:
            # It has worked for as long as the last pause was: the next failure is a new one.
            self.pause_seconds = 0.0
        if not health.failed or now < self.restart_at:
            return False
        self.pause_seconds = min(
            PAUSE_SECONDS_MOST, max(PAUSE_SECONDS_FIRST, 2 * self.pause_seconds)
        )
        self.restart_at = now + self.pause_seconds
        return True


class Repair(Protocol):
    """Looks after something, again and again, in a thread of its own."""

    reasons: tuple[str, ...]
    """What is wrong now; empty when nothing is."""

    def look(self, now: float) -> None:
        """One look, and a cure when there is one; `now` is monotonic seconds."""

    def report(self) -> dict[str, object]:
        """What /health tells beside the reasons."""


class ConnectorRepair:
    """Looks after the connector, restarts what has failed, and tells what is wrong now."""

    def __init__(self, client: ConnectClient, connector: str) -> None:
        self.reasons: tuple[str, ...] = ("has not looked yet",)
        self.restarts = 0
        self._client = client
        self._connector = connector
        self._policy = RestartPolicy()

    def look(self, now: float) -> None:
        """One look, and a restart when it is time; never raises what a server does."""
        try:
            health = self._client.health(self._connector)
            if self._policy.decide(health, now):
                _log.warning("restarting connector %s: %s", self._connector, health.problem())
                self._client.restart_failed(self._connector)
                self.restarts += 1
            self.reasons = (health.problem(),) if health.failed else ()
        except PurserError as error:
            self.reasons = (str(error),)

    def report(self) -> dict[str, object]:
        """How often something was restarted."""
        return {"restarts": self.restarts}


class Rounds:
    """Lets each repair look every few seconds, in a thread of its own, for the length of a `with`.

    A look that does not end is told: what it last found would stand there for ever.
    """

    def __init__(
        self,
        *repairs: Repair,
        seconds: float = LOOK_SECONDS,
        seconds_most: float = LOOK_SECONDS_MOST,
    ) -> None:
        self._keepers = repairs
        self._seconds = seconds
        self._seconds_most = seconds_most
        self._began_at: dict[str, float] = {}
        self._stop = threading.Event()
        # One that waits for its server does not keep the others from looking.
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
        """What is wrong now, of all repairs; empty when nothing is."""
        now = time.monotonic()
        stuck = [
            f"{name} has not ended its look for {now - began_at:.0f} s; restart the repair"
            for name, began_at in self._began_at.copy().items()
            if now - began_at > self._seconds_most
        ]
        return stuck + [reason for repair in self._keepers for reason in repair.reasons]

    def report(self) -> dict[str, object]:
        """What the repairs tell beside the reasons."""
        told: dict[str, object] = {}
        for repair in self._keepers:
            told |= repair.report()
        return told

    def _run(self, repair: Repair) -> None:
        name = _name(repair)
        while not self._stop.is_set():
            self._began_at[name] = time.monotonic()
            try:
                repair.look(time.monotonic())
            except Exception as error:  # noqa: BLE001 - told by /health, and the next look may work
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
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it says, /health says better
    try:
        settings = SupervisorSettings.load()
    except PurserError as error:
        raise SystemExit(f"error: {error}") from None
    with ConnectClient(settings.connect_url, retry_seconds=ANSWER_SECONDS) as client:
        repairs = (
            ConnectorRepair(client, settings.connector),
            OrphanedTransactionRepair(
                settings.connect_url, settings.kafka_bootstrap, settings.transactional_id
            ),
            HangingTransactionRepair(settings.kafka_bootstrap),
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

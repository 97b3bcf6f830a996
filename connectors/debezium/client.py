"""Client for the parts of Kafka Connect's REST interface that Purser needs.

Only this module translates Connect's answers and errors into ours. A connector that is RUNNING can
have a FAILED task, so `health` reports both.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from connectors.debezium.failure import place, root_error
from schemas.errors import ConfigurationError, ServiceUnavailable

ANSWER_SECONDS = 30.0  # Connect itself waits 90 s for its herder; we prefer to retry sooner
PLACE_SECONDS = 3.0  # a report of a failure must not wait for what only completes it
RETRY_SECONDS = 60.0
PAUSE_SECONDS_MOST = 2.0
POLL_SECONDS = 0.25
RUNNING = "RUNNING"
FAILED = "FAILED"
STOPPED = "STOPPED"
PAUSED = "PAUSED"
UNREGISTERED = "UNREGISTERED"
STOP_SECONDS = 60.0
# Retried: the group of Connect workers is rebalancing, or the worker is still starting.
WORTH_ANOTHER_TRY = frozenset({409, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHealth:
    """One task: its number, Connect's name for its state, and the cause of its failure."""

    number: int
    state: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorHealth:
    """A connector and its tasks; `state` is UNREGISTERED if Connect does not know it."""

    name: str
    state: str
    error: str | None
    tasks: tuple[TaskHealth, ...]
    place: str | None = None
    """Which record and topic a failed task has stopped at, as far as Connect knows."""

    @property
    def healthy(self) -> bool:
        """Whether the connector runs, has a task, and all its tasks run."""
        return (
            self.state == RUNNING
            and bool(self.tasks)
            and all(task.state == RUNNING for task in self.tasks)
        )

    @property
    def failed(self) -> bool:
        """Whether the connector or a task has FAILED and needs a restart."""
        return self.state == FAILED or any(task.state == FAILED for task in self.tasks)

    def problem(self) -> str:
        """The problem in one line; empty if healthy."""
        if self.healthy:
            return ""
        for task in self.tasks:
            if task.state != RUNNING:
                reason = task.error or "no reason given"
                at = f"; {self.place}" if self.place else ""
                return f"task {task.number} is {task.state}: {reason}{at}"
        if self.state != RUNNING:
            return f"the connector is {self.state}: {self.error or 'no reason given'}"
        return "the connector runs without a task"


class ConnectClient:
    """A session with one Connect worker; close it, or use it as a context manager."""

    def __init__(
        self,
        url: str,
        *,
        retry_seconds: float = RETRY_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=ANSWER_SECONDS, transport=transport)
        self._url = url
        self._retry_seconds = retry_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def register(self, name: str, config: Mapping[str, str]) -> bool:
        """Give a connector exactly this configuration; return whether anything had to change.

        An unchanged configuration is not sent, because Connect would restart the task needlessly.
        Raises ConfigurationError if Connect refuses the configuration, ServiceUnavailable if it
        does not answer in time.
        """
        if self.config(name) == {"name": name, **config}:
            return False
        self._request("PUT", f"/connectors/{name}/config", json=dict(config))
        return True

    def config(self, name: str) -> dict[str, str] | None:
        """A connector's configuration, or None if Connect does not know it."""
        answer = self._request("GET", f"/connectors/{name}/config", unknown_is_none=True)
        return None if answer is None else {str(key): str(value) for key, value in answer.items()}

    def health(self, name: str) -> ConnectorHealth:
        """The state of a connector and its tasks."""
        answer = self._request("GET", f"/connectors/{name}/status", unknown_is_none=True)
        if answer is None:
            return ConnectorHealth(name=name, state=UNREGISTERED, error=None, tasks=())
        return ConnectorHealth(
            name=name,
            state=answer["connector"]["state"],
            error=root_error(answer["connector"].get("trace")),
            tasks=tuple(
                TaskHealth(
                    number=task["id"], state=task["state"], error=root_error(task.get("trace"))
                )
                for task in answer["tasks"]
            ),
        )

    def located(self, health: ConnectorHealth) -> ConnectorHealth:
        """Return the same health and, if a part has FAILED, the place where it has stopped.

        The place is left out if Connect does not say it at once.
        """
        if not health.failed:
            return health
        try:
            offsets, config = (
                self._http.get(f"/connectors/{health.name}/{what}", timeout=PLACE_SECONDS)
                .raise_for_status()
                .json()
                for what in ("offsets", "config")
            )
        except (httpx.HTTPError, ValueError):
            return health
        return replace(health, place=place(offsets, config))

    def restart_failed(self, name: str) -> None:
        """Restart the FAILED parts of a connector and leave the running ones alone."""
        self._request("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def restart(self, name: str) -> None:
        """Restart a connector with its task, which then connects to Kafka anew."""
        self._request("POST", f"/connectors/{name}/restart?includeTasks=true")

    def stop(self, name: str) -> None:
        """Stop a connector and wait until no task runs; its configuration and offsets stay.

        Raises ServiceUnavailable if a task does not end in time.
        """
        self._request("PUT", f"/connectors/{name}/stop")
        deadline = time.monotonic() + STOP_SECONDS
        while (health := self.health(name)).state != STOPPED or health.tasks:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"connector {name} does not stop; look at Kafka Connect's log, then run the"
                    " same command again"
                )
            time.sleep(POLL_SECONDS)

    def register_stopped(self, name: str, config: Mapping[str, str]) -> None:
        """Register a connector that Connect does not know, without starting a task."""
        body = {"name": name, "config": dict(config), "initial_state": STOPPED}
        self._request("POST", "/connectors", json=body)

    def resume(self, name: str) -> None:
        """Start a stopped or paused connector."""
        self._request("PUT", f"/connectors/{name}/resume")

    def offset(self, name: str) -> dict[str, Any] | None:
        """The position that a connector has noted in its source; None if there is none."""
        answer = self._request("GET", f"/connectors/{name}/offsets", unknown_is_none=True)
        found = answer["offsets"] if answer is not None else []
        return dict(found[0]["offset"]) if found else None

    def forget_offsets(self, name: str) -> None:
        """Forget the position of a stopped connector: its next start takes a snapshot."""
        self._request("DELETE", f"/connectors/{name}/offsets")

    def delete(self, name: str) -> None:
        """Remove a connector, but not its topic and replication slot."""
        self._request("DELETE", f"/connectors/{name}", unknown_is_none=True)

    def wait_healthy(self, name: str, timeout_seconds: float) -> None:
        """Wait until a connector and its tasks run.

        Raises ServiceUnavailable with the reason if a task has failed or time is up.
        """
        deadline = time.monotonic() + timeout_seconds
        while not (health := self.health(name)).healthy:
            if health.failed or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"connector {name}: {health.problem()}; look at Kafka Connect's log"
                )
            time.sleep(POLL_SECONDS)

    def _request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        unknown_is_none: bool = False,
    ) -> Any:
        """Send a request, with retries; return the decoded answer, or None for no content."""
        retrying = Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            stop=stop_after_delay(self._retry_seconds),
            wait=wait_exponential(multiplier=0.1, max=PAUSE_SECONDS_MOST),
            reraise=True,
        )
        return retrying(self._request_once, method, path, json, unknown_is_none)

    def _request_once(
        self, method: str, path: str, json: Mapping[str, Any] | None, unknown_is_none: bool
    ) -> Any:
        try:
            answer = self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"Kafka Connect does not answer at {self._url} ({error}); is it up?"
            ) from error
        if answer.status_code == httpx.codes.NOT_FOUND and unknown_is_none:
            return None
        if answer.is_success:
            return answer.json() if answer.content else None
        message = f"Kafka Connect refuses {method} {path}: {_message(answer)}"
        if answer.status_code in WORTH_ANOTHER_TRY:
            raise ServiceUnavailable(f"{message}; try again")
        raise ConfigurationError(f"{message}; correct the connector's settings")


def _message(answer: httpx.Response) -> str:
    """The reason in an error answer, on one line."""
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return " ".join(text.split()) or f"status {answer.status_code}"

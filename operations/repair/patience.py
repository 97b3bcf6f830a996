"""When waiting for Debezium is in vain. Pure."""

from dataclasses import dataclass

from connectors.debezium.client import PAUSED, STOPPED, UNREGISTERED, ConnectorHealth
from schemas.errors import ServiceUnavailable

START_SECONDS = 30.0
"""How long Connect may take to start a connector as it was told."""
FAILED_SECONDS_MOST = 180.0
"""How long failures may go on: the supervisor restarts a task after pauses of up to a minute."""


@dataclass(slots=True)
class Patience:
    """Ends with a connector that does not run, and with failures between which nothing is done.

    A task that fails again and again is RUNNING after each restart, so that alone means nothing.
    """

    began: float
    _started: bool = False
    _sent: int = 0
    _failed_since: float | None = None

    def check(self, health: ConnectorHealth, *, sent: int, active: bool, now: float) -> None:
        """Raise ServiceUnavailable if waiting is in vain.

        `sent`: the events that have arrived in the topic. `active`: whether the slot is being read.
        """
        if health.state in (STOPPED, PAUSED, UNREGISTERED):
            if self._started or now - self.began > START_SECONDS:
                raise ServiceUnavailable(
                    f"connector {health.name} is {health.state}, so it sends nothing; run the same"
                    " command again"
                )
            return
        self._started = True
        if active or sent > self._sent:
            self._sent, self._failed_since = max(sent, self._sent), None
        if not health.failed:
            return
        if self._failed_since is None:
            self._failed_since = now
        elif now - self._failed_since > FAILED_SECONDS_MOST:
            raise ServiceUnavailable(
                f"connector {health.name}: {health.problem()}; look at Kafka Connect's log, then"
                " run the same command again"
            )

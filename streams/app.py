"""The Faust app of a worker, and the worker's process: settings, logging, signals, exit status.

`make_app` returns an app that reads Kafka through the batch transport, with settings that lose no
records. The caller adds agents to it. `run` is the main function of the worker process: it logs one
line per event to standard error, stops within `stop_timeout_seconds` of SIGTERM, and exits with a
status other than 0 if anything failed.
"""

import faulthandler
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import faust
from mode import CrashingSupervisor

from schemas.errors import ConfigurationError
from streams.logs import configure_logging
from streams.settings import StreamSettings
from streams.transport import BatchTransport, TransportLimits
from streams.watchdog import LoopWatchdog

__all__ = ["StreamWorker", "configure_logging", "make_app", "run"]

POLL_INTERVAL_MAX_SECONDS = 300.0


def make_app(
    settings: StreamSettings, topic_ids: Mapping[str, str] = MappingProxyType({})
) -> faust.App:
    """Return an app whose events are partition batches; see `streams.transport` for how to read
    them.

    Messages are raw bytes. The app creates no topics, keeps no state and serves no HTTP. An
    exception that leaves an agent ends the process: the agent's batches would otherwise never be
    acknowledged. An offset that was committed in a topic with another id than in `topic_ids` does
    not count: such a topic is read from its beginning.
    """
    app = faust.App(
        settings.consumer_group,
        broker=[f"kafka://{address}" for address in settings.brokers],
        broker_client_id=settings.worker_instance or settings.consumer_group,
        consumer_group_instance_id=settings.worker_instance,
        datadir=settings.data_dir,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        processing_guarantee="at_least_once",
        agent_supervisor=CrashingSupervisor,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=settings.fetch_partition_bytes_max,
        broker_max_poll_records=settings.batch_records_max,
        broker_max_poll_interval=POLL_INTERVAL_MAX_SECONDS,
        broker_check_crcs=True,
        broker_commit_interval=settings.commit_interval_seconds,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.heartbeat_interval_seconds,
        broker_rebalance_timeout=settings.rebalance_timeout_seconds,
        broker_request_timeout=settings.request_timeout_seconds,
    )
    app.finalize()
    limits = TransportLimits(
        in_flight_batches_max=settings.in_flight_batches_max,
        in_flight_bytes_max=settings.in_flight_bytes_max,
        fetch_response_bytes_max=settings.fetch_response_bytes_max,
        gather_milliseconds=settings.gather_milliseconds,
    )
    app.transport = BatchTransport(
        app.conf.broker_consumer, app, limits=limits, topic_ids=topic_ids
    )
    return app


class StreamWorker(faust.Worker):
    """Faust's worker without its spinner and colours, and with a deadline for stopping."""

    def __init__(
        self, app: faust.App, watchdog: LoopWatchdog, *, stop_timeout_seconds: float
    ) -> None:
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False)
        self.spinner = None
        self._watchdog = watchdog
        self._stop_timeout_seconds = stop_timeout_seconds

    def _schedule_shutdown(self, signal: Any) -> None:
        # Something may hang: a server that is down, or an agent that does not give up. The watchdog
        # then ends the process in time, prints where it hangs, and makes its status nonzero.
        self._watchdog.stop_within(self._stop_timeout_seconds)
        super()._schedule_shutdown(signal)


def run(app: faust.App, settings: StreamSettings, watchdog: LoopWatchdog | None = None) -> NoReturn:
    """Run the app until it is told to stop, then exit; the status is 0 only after a clean stop.

    A caller that passes a watchdog must feed it from the event loop. Raises ConfigurationError if
    the worker's folder cannot be created.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"PURSER_HOME: cannot write in {settings.data_dir} ({error.strerror}); set it to a"
            " folder that you may write in"
        ) from error
    configure_logging(settings.log_level)
    faulthandler.enable()
    watchdog = watchdog or LoopWatchdog(settings.stop_timeout_seconds)
    worker = StreamWorker(app, watchdog, stop_timeout_seconds=settings.stop_timeout_seconds)
    try:
        worker.execute_from_commandline()
    finally:
        watchdog.disarm()
    raise SystemExit(0)  # Faust has exited already; this is for the type checker

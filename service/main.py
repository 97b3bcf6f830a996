"""The API's process: `python -m service.main`.

All settings come from the environment (`purser env` prints them for the local stack). It refuses to
start with a wrong one. A signal lets the requests in flight finish, for `stop_seconds` at most.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import FrameType
from typing import Any, TypeVar, cast
from uuid import UUID

from schemas.runtime import entry_point, loading

with loading():
    import uvicorn
    import uvloop
    from limits.aio.storage import RedisStorage
    from redis.asyncio import Redis

    from connectors.debezium.settings import DebeziumSettings
    from connectors.stripe.processor import StripeProcessor
    from connectors.stripe.settings import StripeSettings
    from payins.execute import PayIns
    from payins.inbox import Inbox
    from payins.metrics import PayInsMetrics
    from payins.processors import Processors
    from schemas.errors import ConfigurationError, ServiceUnavailable
    from schemas.gc_tuning import YOUNG_OBJECTS_OF_A_SERVICE, tune_gc
    from schemas.ids import PaymentId
    from service.answer_cache import AnswerCache, open_redis
    from service.app import make_app
    from service.as_of import AsOf
    from service.breaker import Breaker
    from service.database import Database
    from service.frame import Frame
    from service.gate import Gate
    from service.health import Readiness
    from service.keys import KeySet, check_keys_file, fetch_from, read_file
    from service.listing import Listing
    from service.logs import configure_logging
    from service.metrics import ApiMetrics
    from service.parts import Parts
    from service.protocol import guarded_protocol
    from service.rate_limits import RateLimits
    from service.settings import ServiceSettings
    from service.tokens import Tokens
    from service.views import Views
    from service.webhooks import StripeWebhooks
    from streams.worker.operators import OperatorsPort
    from writer.append import open_async_reader, open_async_writer

AGAIN_SECONDS = 1.0

_log = logging.getLogger("purser.api")
_Opened = TypeVar("_Opened")


class ApiServer(uvicorn.Server):
    """uvicorn's server; a signal is told to whoever asks whether the process is ready."""

    def __init__(self, config: "uvicorn.Config", readiness: "Readiness") -> None:
        super().__init__(config)
        self._readiness = readiness

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        for each in sockets or ():
            _log.info("listening on %s:%d", *each.getsockname()[:2])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop: nothing new is accepted, requests in flight finish."""
        self._readiness.stopping = True
        super().handle_exit(sig, frame)


async def serve(settings: "ServiceSettings") -> None:
    """Open everything, serve until a signal comes, close everything."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings))
        app, readiness = await open_app(settings, stack)
        server = ApiServer(uvicorn_config(settings, app), readiness)
        await server.serve(sockets=[listener])


def uvicorn_config(settings: "ServiceSettings", app: "Frame") -> "uvicorn.Config":
    """How uvicorn serves: its own log lines and headers are left out."""
    return uvicorn.Config(
        app,
        http=guarded_protocol(settings.headers_seconds, app.refused),
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.stop_seconds,
        ssl_certfile=settings.api_tls_certificate_file,
        ssl_keyfile=str(settings.api_tls_key_file) if settings.api_tls_key_file else None,
    )


def listen(settings: "ServiceSettings") -> socket.socket:
    """A socket on the API's address; raises ConfigurationError if it is taken."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.api_host, settings.api_port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"PURSER_API_PORT: {settings.api_port} cannot be used ({error.strerror}); set it to a"
            " free port"
        ) from error
    return listener


async def open_app(
    settings: "ServiceSettings", stack: AsyncExitStack
) -> tuple["Frame", "Readiness"]:
    """The application with everything it needs; the stack closes that.

    Raises:
        ConfigurationError: something is set wrongly.
        ServiceUnavailable: PostgreSQL did not answer within `startup_wait_seconds`.
    """
    stripe = StripeSettings.load()
    metrics = ApiMetrics()
    gate, keys, document = await _open_gate(settings, metrics, stack)
    dsn = settings.postgres_dsn.get_secret_value()
    writer = await _patiently(
        lambda: stack.enter_async_context(open_async_writer(dsn)), settings.startup_wait_seconds
    )
    reader = await _patiently(
        lambda: stack.enter_async_context(open_async_reader(dsn)), settings.startup_wait_seconds
    )
    database = Database(dsn)
    await database.open()
    stack.push_async_callback(database.close)
    views = Views(
        settings.clickhouse_reader_url.get_secret_value(),
        threads=settings.view_threads,
        waiting_most=settings.view_waiting_most,
        seconds=settings.view_seconds,
    )
    stack.callback(views.close)
    inbox = Inbox(settings.kafka_bootstrap)
    stack.push_async_callback(inbox.stop)
    payins_metrics = PayInsMetrics(metrics.registry)
    stripe_processor = StripeProcessor(stripe)
    stack.push_async_callback(stripe_processor.close)
    processors = Processors([stripe_processor], payins_metrics)
    as_of = AsOf(database, views, partitions=DebeziumSettings.load().topic_partitions)
    parts = Parts(
        writer=writer,
        payins=PayIns(writer, processors, payins_metrics),
        views=views,
        as_of=as_of,
        listing=Listing(database, views, as_of, reader),
        webhooks=StripeWebhooks(inbox, stripe.webhook_secrets),
        metrics=metrics,
    )
    readiness = Readiness(
        needed={
            # Not over the connections of lists: slow lists keep no payment waiting.
            "postgres": lambda: writer.load(PaymentId(UUID(int=0))),
            "token_keys": keys.ready,
        },
        useful={"clickhouse": as_of.now},
    )
    operators = OperatorsPort(settings.worker_metrics_port, metrics.registry, readiness.report)
    await operators.start()
    stack.push_async_callback(operators.stop)
    _, framed = make_app(settings, gate, parts, readiness, document)
    return framed, readiness


async def _open_gate(
    settings: "ServiceSettings", metrics: "ApiMetrics", stack: AsyncExitStack
) -> tuple["Gate", "KeySet", bytes | None]:
    document = check_keys_file(settings.jwks_file) if settings.jwks_file else None
    path = settings.jwks_file
    keys = KeySet(
        fetch_from(settings.jwks_url) if path is None else lambda: read_file(path),
        refresh_seconds=settings.jwks_refresh_seconds,
        pause_seconds=settings.jwks_pause_seconds,
    )
    tokens = Tokens(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_seconds=settings.jwt_leeway_seconds,
        remembered_most=settings.tokens_remembered,
        remembered_seconds=settings.jwks_refresh_seconds,
    )
    breaker = Breaker(
        metrics,
        pause_seconds=settings.redis_pause_seconds,
        answer_seconds=settings.redis_answer_seconds,
    )
    redis, shared, secret = None, None, b""
    if settings.redis_url is not None:
        assert settings.answers_secret is not None, "checked when the settings were made"
        secret = settings.answers_secret.get_secret_value().encode()
        url = settings.redis_url.get_secret_value()
        redis = open_redis(url)
        stack.push_async_callback(_close, redis, settings.redis_answer_seconds)
        shared = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            connection_pool=cast(Any, redis.connection_pool),
        )
    answers = AnswerCache(
        redis, secret, breaker, metrics, kept_seconds=settings.answers_kept_seconds
    )
    stack.push_async_callback(answers.flush)
    quotas = [
        RateLimits(
            requests=requests,
            window_seconds=settings.rate_window_seconds,
            shared=shared,
            breaker=breaker,
        )
        for requests in (settings.rate_requests, settings.rate_requests_unknown)
    ]
    gate = Gate(
        tokens=tokens,
        quotas=quotas[0],
        unknown_quotas=quotas[1],
        answers=answers,
        metrics=metrics,
        in_flight={},
    )
    return gate, keys, document


async def _close(redis: "Redis", seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await redis.aclose()


async def _patiently(open_it: Callable[[], Awaitable[_Opened]], wait_seconds: float) -> _Opened:
    """Open something whose server may still be starting."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return await open_it()
        except ServiceUnavailable as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("waiting: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)


@entry_point
def main() -> None:
    """Run until told to stop."""
    settings = ServiceSettings.load()
    configure_logging(settings.log_level)
    tune_gc(YOUNG_OBJECTS_OF_A_SERVICE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()

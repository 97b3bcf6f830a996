"""The frame and the connection: ids, limits, quotas and log lines, in process and on a socket."""

import asyncio
import io
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import uvicorn

from service.breaker import Breaker
from service.health import Readiness
from service.logs import BatchedLines, JsonLines
from service.main import ApiServer, uvicorn_config
from service.metrics import ApiMetrics
from service.rate_limits import RateLimits
from tests.service_world import SETTINGS, ApiWorld, body, key, token


def ask(world: ApiWorld, *arguments: Any, **request: Any) -> Any:
    async def once() -> Any:
        async with world.client(request.pop("role", "service")) as client:
            return await client.request(*arguments, **request)

    return asyncio.run(once())


@pytest.fixture
def world() -> Iterator[ApiWorld]:
    made = ApiWorld()
    yield made
    made.close()


# -- the request's id


def test_the_id_comes_back_or_is_made(world: ApiWorld) -> None:
    given = ask(world, "GET", "/v1/payments", headers={"X-Request-Id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = {ask(world, "GET", "/v1/payments").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize("value", ["", "a b", "a" * 129, b"\xe4", "a\tb"])
def test_an_id_that_would_forge_a_line_is_refused(world: ApiWorld, value: Any) -> None:
    answer = ask(world, "GET", "/healthz", headers={"X-Request-Id": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_id_malformed")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] != value


@contextmanager
def collected(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The lines that are written."""
    lines: list[dict[str, Any]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonLines().format(record)))

    handler = Collect()
    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


def test_every_line_has_the_id_and_nothing_of_the_request(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with collected(caplog) as lines:
        ask(
            world,
            "POST",
            "/v1/payments",
            json=body(buyer_id="the-buyer"),
            headers={**key("secret-key"), "X-Request-Id": "abc-1"},
        )
    ours = [line for line in lines if line["logger"].startswith("purser.api")]
    [line] = [line for line in ours if line["message"] == "request"]
    assert (line["request_id"], line["route"], line["status"]) == ("abc-1", "create_payment", 201)
    assert line["role"] == "service"
    for text in map(json.dumps, ours):
        for secret in ("the-buyer", "secret-key", "shop", token().split(".")[1][:20]):
            assert secret not in text


def test_lines_are_written_together_and_none_is_lost() -> None:
    written = io.StringIO()
    handler = BatchedLines(written)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.Logger("test")
    log.addHandler(handler)

    async def work() -> None:
        log.info("one")
        log.info("two")
        assert written.getvalue() == ""
        log.warning("three")
        assert written.getvalue() == "one\ntwo\nthree\n"
        log.info("four")
        await asyncio.sleep(0.3)
        assert written.getvalue().endswith("four\n")
        log.info("five")

    asyncio.run(work())
    log.info("six")
    assert written.getvalue() == "one\ntwo\nthree\nfour\nfive\nsix\n"


def test_metrics_name_operations_and_not_paths(world: ApiWorld) -> None:
    ask(world, "GET", "/v1/payments/00000000-0000-0000-0000-000000000000")
    ask(world, "GET", "/no/such/path")
    assert set(counted(world)) == {("get_payment", "404"), ("none", "404")}


# -- the body's limits


@pytest.mark.parametrize(("size", "status"), [(256 * 1024, 422), (256 * 1024 + 1, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_size_of_a_body(world: ApiWorld, size: int, status: int, is_chunked: bool) -> None:
    text = b'{"buyer_id":"' + b"b" * (size - 15) + b'"}'

    async def parts() -> AsyncIterator[bytes]:
        for begin in range(0, len(text), 8192):
            yield text[begin : begin + 8192]

    headers = {**key(), "Content-Type": "application/json"}
    answer = ask(
        world, "POST", "/v1/payments", content=parts() if is_chunked else text, headers=headers
    )
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("path", ["/webhooks/stripe", "/v1/idempotency-keys"])
def test_the_limit_holds_for_every_route(world: ApiWorld, path: str) -> None:
    answer = ask(world, "POST", path, content=b" " * (256 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_more_requests_than_can_be_worked_on_are_sent_away_at_once() -> None:
    world = ApiWorld(settings=SETTINGS.model_copy(update={"requests_most": 2}))

    async def work() -> list[int]:
        go_on = asyncio.Event()

        async def slow(_payment_id: Any) -> Any:
            await go_on.wait()
            return ()

        cast(Any, world.writer).load = slow
        path = "/v1/payments/00000000-0000-0000-0000-000000000000"
        async with world.client() as client:
            waiting = [asyncio.create_task(client.get(path)) for _ in range(2)]
            await asyncio.sleep(0.1)
            refused = await client.get(path)
            assert refused.headers["retry-after"] == "1"
            go_on.set()
            return [refused.status_code, *[(await each).status_code for each in waiting]]

    try:
        assert asyncio.run(work()) == [503, 404, 404]
    finally:
        world.close()


# -- quotas


def test_a_quota_is_counted_by_caller_and_told_with_every_answer() -> None:
    world = ApiWorld(requests=2)
    cast(Any, world.gate.quotas)._clock = lambda: 1000.0  # no window ends meanwhile
    try:
        path = "/v1/payments/00000000-0000-0000-0000-000000000000"
        answers = [ask(world, "GET", path) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [404, 404, 429]
        assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == [
            "r=1", "r=0", "r=0"
        ]  # fmt: skip
        assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=60'
        refused = answers[2]
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert ask(world, "GET", path, role="admin").status_code == 429  # the same subject
        # Nobody's requests are counted by address, and the quota is another.
        assert ask(world, "GET", path, role="").status_code == 401
    finally:
        world.close()


class Shared:
    """Counts of several processes."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.answer: Any = None

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]


def limits(shared: Shared | None, now: list[float], requests: int = 3) -> RateLimits:
    breaker = Breaker(ApiMetrics(), pause_seconds=1, clock=lambda: now[0])
    return RateLimits(
        requests=requests, window_seconds=10, shared=shared, breaker=breaker, clock=lambda: now[0]
    )


def hit(quotas: RateLimits, times: int = 1) -> list[bool]:
    async def all_of_them() -> list[bool]:
        return [(await quotas.hit("who")).allowed for _ in range(times)]

    return asyncio.run(all_of_them())


def test_a_window_ends() -> None:
    now = [100.0]
    quotas = limits(None, now)
    assert hit(quotas, 4) == [True, True, True, False]
    now[0] = 110.0
    assert hit(quotas) == [True]


def test_processes_that_share_redis_count_together() -> None:
    now, shared = [100.0], Shared()
    one, two = limits(shared, now), limits(shared, now)
    assert hit(one, 2) + hit(two, 2) == [True, True, True, False]


def test_a_large_quota_is_shared_now_and_then() -> None:
    now, shared = [100.0], Shared()
    one, two = (limits(shared, now, requests=1000) for _ in range(2))
    hit(one, 8)
    assert shared.counts == {"purser:rate:10:who": 1}
    hit(one, 3)  # a hundredth of the quota
    assert shared.counts == {"purser:rate:10:who": 11}
    hit(two, 1)
    now[0] += 0.3
    hit(one, 1)
    assert shared.counts == {"purser:rate:10:who": 13}


def test_what_redis_may_have_counted_is_not_counted_twice() -> None:
    now, shared = [100.0], Shared()
    quotas = limits(shared, now, requests=4)
    count = shared.incr

    async def too_late(key: str, expiry: int, amount: int = 1) -> int:
        await count(key, expiry, amount)
        raise TimeoutError

    shared.incr = too_late  # type: ignore[method-assign]
    assert hit(quotas) == [True]
    shared.incr = count  # type: ignore[method-assign]
    now[0] += 1
    assert hit(quotas, 3) == [True, True, True]
    assert hit(quotas) == [False]


def test_without_redis_each_process_counts_for_itself_and_refuses_nobody_wrongly() -> None:
    now, shared = [100.0], Shared()
    quotas = limits(shared, now)
    shared.answer = ConnectionError("gone")
    assert hit(quotas, 3) == [True, True, True]
    assert hit(quotas) == [False]


# -- on a socket


@contextmanager
def served(**changes: Any) -> Iterator[tuple[ApiWorld, int]]:
    """A server with its own loop, and its port."""
    settings = SETTINGS.model_copy(update=changes)
    world = ApiWorld(settings=settings)
    server = uvicorn.Server(uvicorn_config(settings, world.app))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield world, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        world.close()


def exchange(port: int, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Send parts of a request; the status and the problem of the answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for part in parts:
            connection.sendall(part.replace(b"TOKEN", token().encode()))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


GOOD_HEAD = b"POST /v1/payments HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer TOKEN\r\n"
"""`exchange` puts a token in, which is made then: tokens expire."""


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([b""], 408, "request_timeout"),
        ([b"GET / HTTP/1.1\r\nHost: a\r\n"], 408, "request_timeout"),
        ([b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"], 431, "headers_too_large"),
        ([b"GET / HTTP/1.1\r\n", *[b"Y: " + b"a" * 8_000 + b"\r\n"] * 5],
         431, "headers_too_large"),
        ([b"nonsense\r\n\r\n"], 400, "invalid_http"),
        ([b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"], 400, "invalid_http"),
        ([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"], 400, "invalid_http"),
        ([b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"], 400, "invalid_http"),
        ([GOOD_HEAD + b"Idempotency-Key: k\r\nContent-Length: 9\r\n\r\n{"], 408,
         "request_timeout"),
        ([GOOD_HEAD + b"Content-Length: 999999\r\n\r\n{"], 413, "body_too_large"),
    ],
)  # fmt: skip
def test_a_connection_that_wastes_time_or_room_ends(
    parts: list[bytes], status: int, code: str
) -> None:
    seconds = 0.3 if status == 408 else 30.0
    with served(headers_seconds=seconds, body_seconds=seconds) as (_, port):
        found, problem = exchange(port, *parts)
    assert (found, problem["code"]) == (status, code)


def received(port: int, *parts: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for part in parts:
            connection.sendall(part.replace(b"TOKEN", token().encode()))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


WHOLE = json.dumps(body()).encode()
PAYMENT = (
    GOOD_HEAD
    + b"Idempotency-Key: k\r\nContent-Type: application/json\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(WHOLE)
    + WHOLE
)


ONCE = b"GET /healthz HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "upgrade",
    [
        # What Java's HttpClient and `curl --http2` send with their first request.
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    ],
    ids=["h2c", "websocket", "two"],
)
@pytest.mark.parametrize("cut", ["whole", "body apart", "byte by byte"])
def test_a_request_that_would_upgrade_is_served_as_it_is(upgrade: bytes, cut: str) -> None:
    asked = PAYMENT.replace(b"TOKEN", token().encode()).replace(b"\r\n", b"\r\n" + upgrade, 1)
    other = asked.replace(b"Idempotency-Key: k", b"Idempotency-Key: l")
    head, _, content = asked.partition(b"\r\n\r\n")
    with served() as (world, port):
        if cut == "whole":  # and another one behind it, and one without
            answer = received(port, asked + other + ONCE)
        elif cut == "body apart":
            answer = received_slowly(port, [head + b"\r\n\r\n", content, other + ONCE])
        else:
            answer = received(port, *(bytes([each]) for each in asked + other + ONCE))
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"201", b"201", b"200"]
        assert answer.count(b'"status":"captured"') == 4  # of a payment, and of its order
        assert counted(world)["create_payment", "201"] == 2


def test_a_chunked_body_behind_an_upgrade_is_read() -> None:
    head = GOOD_HEAD + b"Idempotency-Key: k\r\nContent-Type: application/json\r\n"
    upgrade = b"Connection: upgrade, close\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n" % len(WHOLE) + WHOLE + b"\r\n0\r\n\r\n"
    with served() as (_, port):
        status, payment = exchange(port, head + upgrade + chunks)
    assert (status, payment["status"]) == (201, "captured")


def received_slowly(port: int, parts: list[bytes]) -> bytes:
    """All that comes back when each part is a packet of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        for part in parts:
            connection.sendall(part)
            threading.Event().wait(0.1)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        (b"stray bytes\r\n\r\n", 30.0),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 1.0),
        (b"GET / HTT", 1.0),
        (PAYMENT + b"x y", 30.0),
    ],
    ids=["no request", "too large", "too late", "pipelined"],
)
def test_a_request_that_is_worked_on_is_not_answered_by_what_follows(
    more: bytes, seconds: float
) -> None:
    with served(headers_seconds=seconds) as (world, port):
        begun, done, create = threading.Event(), threading.Event(), world.payins.create

        async def slow(*arguments: Any, **named: Any) -> Any:
            begun.set()
            await asyncio.sleep(3)
            found = await create(*arguments, **named)
            done.set()
            return found

        cast(Any, world.payins).create = slow
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(PAYMENT.replace(b"TOKEN", token().encode()))
            assert begun.wait(10)
            connection.sendall(more.replace(b"TOKEN", token().encode()))
            # The payment is made, so nothing may say that it is not.
            assert connection.recv(65536) == b""
        assert done.wait(10)


def test_an_answer_to_no_request_has_an_id_a_line_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served() as (world, port), collected(caplog) as lines:
        head, _, content = received(port, b"nonsense\r\n\r\n").partition(b"\r\n\r\n")
    request_id = json.loads(content)["request_id"]
    assert f"\r\nx-request-id: {request_id}\r\n".encode() in head + b"\r\n"
    assert len(request_id) == 36
    for fixed in (b"cache-control: no-store", b"x-content-type-options: nosniff"):
        assert fixed in head
    [line] = [line for line in lines if line["logger"] == "purser.api.requests"]
    assert (line["route"], line["status"], line["request_id"]) == ("none", 400, request_id)
    assert counted(world) == {("none", "400"): 1}


def counted(world: ApiWorld) -> dict[tuple[str, str], float]:
    """Requests by route and status."""
    return {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for metric in world.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "purser_api_requests_total"
    }


def test_a_client_that_left_is_counted_by_name() -> None:
    with served() as (world, port):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            head = GOOD_HEAD.replace(b"TOKEN", token().encode())
            connection.sendall(head + b"Idempotency-Key: k\r\nContent-Length: 9\r\n\r\n{")
        for _ in range(100):
            if counted(world):
                break
            threading.Event().wait(0.05)
        assert counted(world) == {("create_payment", "left"): 1}


def test_it_says_that_it_listens_when_it_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "purser.api")
    world = ApiWorld()
    listener = socket.create_server(("127.0.0.1", 0))
    accepts: list[bool] = []

    class Look(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("listening on"):
                accepts.append(server.started)

    server = ApiServer(uvicorn_config(SETTINGS, world.app), Readiness({}, {}))
    logging.getLogger("purser.api").addHandler(handler := Look())
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    try:
        thread.start()
        for _ in range(100):
            if accepts:
                break
            threading.Event().wait(0.05)
    finally:
        server.should_exit = True
        thread.join()
        logging.getLogger("purser.api").removeHandler(handler)
        world.close()
    assert accepts == [True]


def test_a_stop_lets_requests_in_flight_finish() -> None:
    with served() as (world, port):
        entered, go_on = threading.Event(), threading.Event()
        inner = world.writer.load

        async def slow(payment_id: Any) -> Any:
            entered.set()
            await asyncio.to_thread(go_on.wait)
            return await inner(payment_id)

        cast(Any, world.writer).load = slow
        found: list[int] = []
        head = GOOD_HEAD.replace(
            b"POST /v1/payments", b"GET /v1/payments/" + b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12
        )
        client = threading.Thread(
            target=lambda: found.append(exchange(port, head + b"Connection: close\r\n\r\n")[0])
        )
        client.start()
        assert entered.wait(10)
        threading.Timer(0.3, go_on.set).start()
    client.join()
    assert found == [404]

"""The shop's client against a small server that misbehaves: it asks until it is answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiohttp import web

from marketplace import api_client, shopping
from marketplace.api_client import ApiClient, ApiReport
from marketplace.baskets import Basket, Line
from marketplace.browser import Browser, forms_of
from marketplace.purchases import PAYMENT, Browse, Choice, Mature, Post, Purchase, Step
from marketplace.shopping import Shopping, ShoppingReport
from schemas.errors import ServiceUnavailable
from schemas.lifecycle import EventType
from tests.events import pay_in
from writer.append import Answer, Appended
from writer.commands import AnyCommand, Release

ID = "00000000-0000-5000-8000-000000000001"
CREATED = {"id": ID, "status": "captured", "last_seq": 2}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "PAUSE_SECONDS", (0.001, 0.002))
    monkeypatch.setattr(shopping, "LOOK_SECONDS", (0.001, 0.002))


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server whose every request goes to one function; its address."""
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def problem(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response(
        {"code": code, "request_id": "r"},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


def post_once(
    handler: Handler, *, give_up_seconds: float = 30.0, **options: float
) -> tuple[api_client.Answer, ApiReport]:
    """The answer to one POST under the key k-1."""

    async def run() -> tuple[api_client.Answer, ApiReport]:
        report = ApiReport()
        async with (
            serving(handler) as url,
            ApiClient(url, "token", report, give_up_seconds=give_up_seconds) as api,
        ):
            return await api.post("create", "/v1/payments", {"a": 1}, "k-1", **options), report

    return asyncio.run(run())


def test_what_is_not_answered_is_sent_again_under_the_same_key() -> None:
    answers: Iterator[Callable[[web.Request], web.StreamResponse]] = iter(
        [
            lambda _: problem(503, "unavailable"),
            lambda _: problem(500, "internal_error"),
            cut,
            lambda _: problem(409, "request_in_flight"),
            lambda _: problem(429, "rate_limited", **{"Retry-After": "0"}),
            lambda _: web.Response(status=502, text="<html>"),
            lambda _: web.json_response(
                CREATED, status=201, headers={"Idempotent-Replayed": "true"}
            ),
        ]
    )
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = request.headers
        seen.append((headers["Idempotency-Key"], headers["Authorization"], await request.read()))
        return next(answers)(request)

    answer, report = post_once(handler)
    assert (answer.status, answer.body, answer.replayed) == (201, CREATED, True)
    assert set(seen) == {("k-1", "Bearer token", b'{"a": 1}')}
    assert len(seen) == 7
    assert report.resent == {
        "503 unavailable": 1,
        "500 internal_error": 1,
        "ServerDisconnectedError": 1,
        "409 request_in_flight": 1,
        "429 rate_limited": 1,
        "502": 1,
    }
    assert report.answers == {("create", 201): 1}
    assert report.replays == 1
    assert len(report.seconds["create"]) == 1


@pytest.mark.parametrize("status", [402, 409, 422])
def test_a_refusal_is_an_answer(status: int) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return problem(status, "no")

    answer, report = post_once(handler)
    assert answer.status == status
    assert report.resent == {}
    assert report.refusals == {"no": 1}


def test_no_answer_for_long_is_told() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return problem(503, "unavailable")

    with pytest.raises(ServiceUnavailable, match=r"create has no answer .*503 unavailable"):
        post_once(handler, give_up_seconds=0.5)


def test_whoever_hangs_up_sends_it_again() -> None:
    keys: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            await asyncio.sleep(5)
        return web.json_response(CREATED, status=201)

    answer, report = post_once(handler, hang_up_seconds=1.0)
    assert answer.status == 201
    assert keys == ["k-1", "k-1"]
    assert report.resent == {"hung up": 1}


def test_latency_counts_from_when_it_was_due() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(CREATED, status=201)

    _, report = post_once(handler, due=-1000.0)
    assert report.seconds["create"][0] > 1000


# -- whole purchases

LINE = Line(
    order_id="o-1", seller_id="s-1", amount_minor=100, commission_minor=0, logistics_fee_minor=0
)
BASKET = Basket(buyer_id="b-1", currency="EUR", method="card", lines=(LINE,))
CREATE = Post(path="/v1/payments", body={}, key="k")
SHIP = Post(path=f"/v1/payments/{PAYMENT}/ship", body={}, key="k/2", when=frozenset({"captured"}))


def a_purchase(*steps: Step, **fields: object) -> Purchase:
    """One purchase that is due at once."""
    purchase = Purchase(
        number=0, at_seconds=0, fate="bought", basket=BASKET, opening=CREATE, steps=steps
    )
    return replace(purchase, **fields)  # type: ignore[arg-type]


class _Writer:
    """Takes every command."""

    def __init__(self) -> None:
        self.commands: list[AnyCommand] = []

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        self.commands.append(command)
        answer: Future[Answer] = Future()
        answer.set_result(Appended((pay_in(EventType.RELEASED),)))
        return answer


def carry_out(
    handler: Handler, *purchases: Purchase, writer: _Writer | None = None
) -> tuple[ShoppingReport, list[tuple[UUID, int]]]:
    """The report, and what the answers showed."""
    shown: list[tuple[UUID, int]] = []

    async def run() -> ShoppingReport:
        report = ShoppingReport()
        async with (
            serving(handler) as url,
            ApiClient(url, "token", report.api) as api,
            Browser() as browser,
        ):
            shop = Shopping(
                api,
                browser,
                report,
                writer=writer,
                on_answered=lambda payment, seq: shown.append((payment, seq)),
                wait_seconds=5,
            )
            await shop.run(purchases, finish=True)
        return report

    return asyncio.run(run()), shown


def test_the_steps_follow_the_first_answer() -> None:
    paths: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return web.json_response(CREATED, status=201)

    writer = _Writer()
    mature = Mature(wait_seconds=0, key="k/mature")
    report, shown = carry_out(handler, a_purchase(SHIP, mature), writer=writer)
    assert paths == ["/v1/payments", f"/v1/payments/{ID}/ship"]
    assert (report.purchases, report.finished, report.recorded) == (1, 1, 1)
    [release] = writer.commands
    assert isinstance(release, Release)
    assert release.payment_id == UUID(ID)
    assert abs((release.occurred_at - datetime.now(UTC)).total_seconds()) < 60
    assert shown == [(UUID(ID), 2), (UUID(ID), 2)]


def test_a_step_waits_until_the_payment_is_there() -> None:
    looks: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "POST" and request.path == "/v1/payments":
            return web.json_response(CREATED | {"status": "unknown"}, status=202)
        looks.append(request.method)
        status = "captured" if len(looks) > 3 else "unknown"
        return web.json_response(CREATED | {"status": status})

    report, _ = carry_out(handler, a_purchase(SHIP))
    assert looks == ["GET", "GET", "GET", "GET", "POST"]
    assert report.skipped == {}


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_a_payment_that_is_over_has_no_more_steps(status: str) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response(CREATED | {"status": status}, status=201)

    report, _ = carry_out(handler, a_purchase(SHIP))
    assert asked == ["/v1/payments"]
    assert report.skipped == {f"bought: {status}": 1}


def test_a_declined_card_ends_the_purchase() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/payments"
        return web.json_response({"code": "payment_declined", "payment": CREATED}, status=402)

    report, _ = carry_out(handler, a_purchase(SHIP))
    assert report.api.answers == {("POST /v1/payments", 402): 1}
    assert report.finished == 1


@pytest.mark.parametrize("changes", [True, False])
def test_repeated_answers_are_compared(changes: bool) -> None:
    keys = Counter[str]()

    async def handler(request: web.Request) -> web.StreamResponse:
        key = request.headers["Idempotency-Key"]
        keys[key] += 1
        body = CREATED | {"request_id": f"r-{keys[key]}"}
        return web.json_response(body | ({"last_seq": keys[key]} if changes else {}), status=201)

    clicked = replace(CREATE, clicks=2)
    report, _ = carry_out(handler, a_purchase(opening=clicked, asks_again=True))
    assert keys == {"k": 4}
    assert report.api.compared == 3
    assert len(report.api.different) == (3 if changes else 0)


# -- the buyer's browser

PAGE = """<!doctype html><title>Pay</title>
<form action="/pay/cs_1" method="post">
 <input type="hidden" name="session" value="cs_1"><input name="card_number" value="">
 <input type="radio" name="brand" value="a"><input type="radio" name="brand" value="b" checked>
 <select name="country"><option value="DE"><option value="FR" selected></select>
 <button name="action" value="complete">Pay</button><button name="action" value="fail">Back</button>
</form>"""


def test_a_page_s_forms_are_read() -> None:
    [form] = forms_of(PAGE)
    assert (form.action, form.method) == ("/pay/cs_1", "post")
    assert form.fields == {"session": "cs_1", "card_number": "", "brand": "b", "country": "FR"}
    assert form.buttons == [("action", "complete"), ("action", "fail")]


@pytest.mark.parametrize(("choice", "button"), [(Choice.PAY, "complete"), (Choice.FAIL, "fail")])
def test_the_buyer_acts_on_the_page(choice: Choice, button: str) -> None:
    submitted: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/payments":
            page = {"type": "redirect", "url": f"http://{request.host}/pay/cs_1"}
            return web.json_response(
                CREATED | {"status": "action_required", "next_action": page}, status=201
            )
        if request.path == "/pay/cs_1" and request.method == "GET":
            return web.Response(text=PAGE, content_type="text/html")
        submitted.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(status=303, headers={"Location": "https://shop.example/thanks"})

    report, _ = carry_out(handler, a_purchase(Browse(wait_seconds=0, choice=choice)))
    number = shopping.GOOD_CARD["card_number"]
    assert submitted == [
        {"session": "cs_1", "card_number": number, "brand": "b", "country": "FR", "action": button}
    ]
    assert report.visits == {choice: 1}


def test_a_stopped_shop_begins_nothing_new() -> None:
    begun = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        begun.set()
        return web.json_response(CREATED, status=201)

    async def run() -> ShoppingReport:
        report = ShoppingReport()
        async with (
            serving(handler) as url,
            ApiClient(url, "token", report.api) as api,
            Browser() as browser,
        ):
            shop = Shopping(api, browser, report)
            late = (a_purchase(at_seconds=at, number=at) for at in (0, 3600))
            running = asyncio.create_task(shop.run(late))
            await begun.wait()
            shop.stop()
            await running
        return report

    report = asyncio.run(run())
    assert (report.purchases, report.finished) == (1, 1)

"""The OpenAPI document: complete, true, and nothing beside it."""

import asyncio
import json
from functools import cache
from typing import Any, cast

import jsonschema
import pytest

from docs.api_pages import API_PAGE, PROBLEMS_PAGE, api_page, problems_page
from schemas.ids import caller_key, payment_id
from service import documents, openapi, shown
from service.app import new_application
from service.permissions import Operation
from service.problems import PROBLEMS
from service.routes import ROUTES
from stack.settings import CHECKOUT
from tests.service_world import ApiWorld, body, key

OPEN = {"/healthz", "/readyz", "/webhooks/stripe"}


@cache
def document() -> dict[str, Any]:
    return openapi.document(new_application())


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_is_there_and_nothing_else() -> None:
    assert document()["openapi"].startswith("3.1")
    names = {operation["operationId"] for path, _, operation in operations() if path not in OPEN}
    assert names == set(Operation)
    assert {path for path, _, _ in operations()} == {route.path for route in ROUTES} | OPEN


def test_every_schema_that_is_referred_to_exists() -> None:
    text = json.dumps(document())
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document()["components"]["schemas"], name


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, method, _ in operations() if path not in OPEN]
)
def test_an_operation_is_documented_to_the_last_problem(path: str, method: str) -> None:
    operation = document()["paths"][path][method]
    assert operation["security"] == [{"token": []}]
    assert operation["summary"]
    if "requestBody" in operation:
        assert "example" in operation["requestBody"]["content"]["application/json"]
    for status, response in operation["responses"].items():
        assert response["description"]
        assert response["headers"]["X-Request-Id"]
        [(media_type, content)] = response["content"].items()
        if int(status) < 300:
            assert media_type == "application/json"
            validate(content["schema"], content["example"])
        else:
            assert media_type == "application/problem+json"
            for code, example in content["examples"].items():
                assert PROBLEMS[code].status == int(status)
                validate(content["schema"], example["value"])
    assert {"400", "401", "403", "406", "429", "500", "503"} <= set(operation["responses"])


def validate(schema: dict[str, Any], example: Any) -> None:
    whole = {**schema, "components": document()["components"]}
    jsonschema.Draft202012Validator(whole).validate(example)


def test_answers_are_what_the_document_says() -> None:
    world = ApiWorld()

    async def work() -> None:
        async with world.client() as client:
            made = await client.post("/v1/payments", json=body(), headers=key())
            payment_id = made.json()["id"]
            read = await client.get(f"/v1/payments/{payment_id}")
            refund = await client.post(f"/v1/payments/{payment_id}/refunds", headers=key())
            page = await client.get("/v1/payments")
            declined = await client.post(
                "/v1/payments", json=body(payment_token="declined"), headers=key()
            )
            lines = await client.get("/transactions/b-3")
        for model, answer in (
            (shown.Payment, made),
            (shown.PaymentWithHistory, read),
            (shown.RefundShown, refund),
            (shown.PaymentsPage, page),
            (shown.Declined, declined),
            (shown.TransactionsPage, lines),
        ):
            cast(Any, model).model_validate_json(answer.content)
        # And nothing is shown that is not documented.
        assert set(read.json()) == set(shown.PaymentWithHistory.model_fields)
        assert set(read.json()["history"][0]) == set(shown.HistoryEvent.model_fields)
        assert set(made.json()["orders"][0]) == set(shown.OrderShown.model_fields)

    try:
        asyncio.run(work())
    finally:
        world.close()


UNSTABLE = {"id", "tx_id", "psp_reference", "created_at", "updated_at"}
ALWAYS = {"cache-control", "content-length", "content-type", "x-content-type-options"}


@pytest.mark.parametrize("path", [
    "/v1/payments", "/v1/payments/{payment_id}/confirm", "/v1/payments/{payment_id}/capture",
    "/v1/payments/{payment_id}/cancel", "/v1/payments/{payment_id}/ship",
    "/v1/payments/{payment_id}/deliver", "/v1/payments/{payment_id}/refunds", "/payments/init",
    "/payments/confirm",
])  # fmt: skip
@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_examples_and_headers_are_those_of_real_answers(path: str, prefer: str) -> None:
    """Each operation with the body of its example, on a payment in the state that it needs."""
    world = ApiWorld()
    asked = {"Prefer": prefer} if prefer else {}
    example = document()["paths"][path]["post"]["requestBody"]["content"]["application/json"]

    async def work() -> Any:
        async with world.client() as client:

            async def post(path: str, content: Any, **headers: str) -> Any:
                return await client.post(path, json=content, headers=key() | headers)

            init = document()["paths"]["/payments/init"]["post"]["requestBody"]["content"]
            content = {**example["example"]}
            for name, value in (("payment_token", "ok"), ("card_token", "ok")):
                if name in content:
                    content[name] = value
            content.pop("idempotency_key", None)  # that of the header is another
            if path == "/payments/confirm" or path.endswith("/confirm"):
                init_body = init["application/json"]["example"] | {"card_token": "ok"}
                del init_body["idempotency_key"]
                payment_id = (await post("/payments/init", init_body)).json()["tx_id"]
                content |= {"tx_id": payment_id} if path == "/payments/confirm" else {}
            else:
                mode = "manual" if path.endswith(("/capture", "/cancel")) else "automatic"
                payment_id = (await world.paid(capture=mode))["id"]
            if path.endswith("/deliver"):
                await post(f"/v1/payments/{payment_id}/ship", {})
            return await post(path.format(payment_id=payment_id), content, **asked)

    try:
        answer = asyncio.run(work())
    finally:
        world.close()
    documented = document()["paths"][path]["post"]["responses"][str(answer.status_code)]
    names = {name.lower() for name in documented["headers"]}
    given = set(answer.headers) - ALWAYS
    assert given <= names, given - names
    if answer.status_code != 202:  # where it may be any state that is under way
        assert names - given <= {"idempotent-replayed"}
        shown_, real = documented["content"]["application/json"]["example"], answer.json()
        assert shown_.keys() == real.keys()
        if "last_seq" in real:
            ours = {"seller_id", "order_id"}
            for name in real.keys() - UNSTABLE - {"orders"}:
                assert shown_[name] == real[name], name
            for line, real_line in zip(shown_["orders"], real["orders"], strict=True):
                for name in real_line.keys() - ours:
                    assert line[name] == real_line[name], name


def test_examples_of_payments_do_not_contradict_themselves() -> None:
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if {"orders", "last_seq"} <= value.keys():
                found.append(value)
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document()["paths"])
    assert len(found) > 10
    for payment in found:
        for name in ("amount_minor", "captured_minor", "refunded_minor"):
            assert payment[name] == sum(order[name] for order in payment["orders"])
        assert payment["status"] in {order["status"] for order in payment["orders"]}
        assert (payment["status"] == "captured") == (payment["captured_minor"] > 0)
        assert (payment["capture"] == "manual") == (payment["authorized_minor"] > 0)
        assert (payment["status"] == "failed") == (payment["failure"] is not None)
        assert "history" not in payment or len(payment["history"]) == payment["last_seq"]


def test_only_what_can_be_repeated_later_says_when() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            if path in OPEN or int(status) < 300:
                continue
            codes = next(iter(response["content"].values()))["examples"]
            has_it = {"request_in_flight", "rate_limited", "unavailable"} & set(codes)
            assert ("Retry-After" in response["headers"]) == bool(has_it), (path, method, status)


def test_the_preference_of_a_refund_is_documented() -> None:
    refund = document()["paths"]["/v1/payments/{payment_id}/refunds"]["post"]
    assert "Prefer" in {each["name"] for each in refund["parameters"]}
    assert "202" not in refund["responses"]


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
def test_pages_load_nothing(path: str) -> None:
    world = ApiWorld()

    async def work() -> Any:
        async with world.client("") as client:
            return await client.get(path)

    try:
        answer = asyncio.run(work())
    finally:
        world.close()
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for word in ("<script", "src=", "@import", "url(", "<link", "<iframe"):
        assert word not in answer.text
    for code in PROBLEMS if path.endswith("problems") else ():
        assert f'id="{code}"' in answer.text


def test_pages_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes 20 ms of the event loop, and whoever asks needs no token."""
    made: list[str] = []

    def counted(name: str) -> None:
        make = getattr(documents, name)

        def made_now(*of: Any) -> Any:
            made.append(name)
            return make(*of)

        monkeypatch.setattr(documents, name, made_now)

    counted("docs_page")
    counted("problems_page")
    world = ApiWorld()

    async def work() -> None:
        async with world.client("") as client:
            for path in ("/docs", "/docs/problems") * 3:
                assert (await client.get(path)).status_code == 200

    try:
        asyncio.run(work())
    finally:
        world.close()
    assert sorted(made) == ["docs_page", "problems_page"]


def test_the_document_is_served() -> None:
    world = ApiWorld()

    async def work() -> Any:
        async with world.client("") as client:
            return await client.get("/openapi.json")

    try:
        assert asyncio.run(work()).json() == json.loads(json.dumps(document()))
    finally:
        world.close()


def test_the_pages_are_the_generated_ones() -> None:
    for page, made in ((API_PAGE, api_page), (PROBLEMS_PAGE, problems_page)):
        text = page.read_text(encoding="utf-8")
        assert text == made(text), "run python -m docs.generate"


def test_the_how_to_names_the_id_that_its_key_gives() -> None:
    page = (CHECKOUT / "docs/how-to/first-payment.md").read_text()
    made = payment_id("payment", caller_key("local-service", "first-payment"))
    assert page.count(str(made)) == 2

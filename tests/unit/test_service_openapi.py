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

"""How the API says no: one table of codes, and what becomes of each error."""

import asyncio
import json
from typing import Any

import pytest

from schemas.errors import Rejection, SchemaVersionError, ServiceUnavailable, WriteRefused
from schemas.rejections import RejectionCode
from service import openapi
from service.problems import (
    MEDIA_TYPE,
    PROBLEMS,
    REJECTIONS,
    FieldError,
    Problem,
    of_rejection,
    pointer,
)
from tests.service_world import ApiWorld, body, key

STATUSES = {400, 401, 402, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 431, 500, 503}


def test_every_refusal_of_the_writer_has_a_status() -> None:
    assert set(REJECTIONS) == set(RejectionCode)
    assert {kind.status for kind in REJECTIONS.values()} <= {404, 409, 422}


def test_the_list_is_closed_and_complete() -> None:
    assert {kind.status for kind in PROBLEMS.values()} == STATUSES
    for code, kind in PROBLEMS.items():
        assert code == code.lower()
        assert kind.title[0].isupper(), code
        assert kind.title[-1] != ".", code
        assert kind.remedy.endswith("."), code


def test_a_problem_has_the_members_of_rfc_9457_and_ours() -> None:
    problem = Problem("field_invalid", "amount: is wrong", field="/amount", more={"in": "query"})
    assert json.loads(problem.body("r-1")) == {
        "type": "/docs/problems#field_invalid",
        "title": "A field's value is invalid",
        "status": 422,
        "detail": "amount: is wrong",
        "code": "field_invalid",
        "field": "/amount",
        "in": "query",
        "request_id": "r-1",
    }


def test_several_errors_are_listed() -> None:
    errors = [
        FieldError("/a", "field_missing", "a: is missing"),
        FieldError("/b", "x", "y", "path"),
    ]
    found = json.loads(Problem("request_invalid", "several", errors=errors).body("r"))
    assert found["errors"] == [
        {"field": "/a", "code": "field_missing", "detail": "a: is missing"},
        {"field": "/b", "code": "x", "detail": "y", "in": "path"},
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("buyer_id", "/buyer_id"),
        ("orders", "/orders"),
        ("orders[0].amount_minor", "/orders/0/amount_minor"),
        ("orders[12].order_id", "/orders/12/order_id"),
        ("metadata.size", "/metadata/size"),
    ],
)
def test_the_writers_names_become_pointers(name: str, expected: str) -> None:
    assert pointer(name) == expected


def test_a_refusal_keeps_its_code_and_takes_the_bodys_names() -> None:
    rejection = Rejection(code="amount_too_large", field="orders[0].amount_minor", problem="is big")
    problem = of_rejection(rejection, names={"orders[0].amount_minor": "amount"})
    assert (problem.code, problem.field, problem.detail) == (
        "amount_too_large",
        "/amount",
        "amount: is big",
    )


def test_a_field_that_no_body_has_is_not_pointed_at() -> None:
    rejection = Rejection(code="illegal_transition", field="command", problem="cannot happen")
    assert of_rejection(rejection).field is None


# -- over HTTP


def send(method: str, path: str, role: str = "service", **request: Any) -> Any:
    world = ApiWorld()

    async def once() -> Any:
        async with world.client(role) as client:
            return await client.request(method, path, **request)

    try:
        return asyncio.run(once())
    finally:
        world.close()


JSON = {"Content-Type": "application/json"}


def order_with(**changes: Any) -> dict[str, Any]:
    found = body()
    found["orders"] = [found["orders"][0] | changes]
    return found


def raw(text: str | bytes, **headers: str) -> dict[str, Any]:
    return {"content": text, "headers": {**key(), **JSON, **headers}}


CREATE = "/v1/payments"
NOBODY = "/v1/payments/00000000-0000-0000-0000-000000000000"
CASES: dict[str, tuple[str, str, dict[str, Any], int, str, str | None]] = {
    "no route": ("GET", "/nothing", {}, 404, "not_found", None),
    "slash at the end": ("GET", "/v1/payments/", {}, 404, "not_found", None),
    "wrong method": ("DELETE", CREATE, {}, 405, "method_not_allowed", None),
    "html wanted": ("GET", CREATE, {"headers": {"Accept": "text/html"}}, 406, "not_acceptable",
                    None),
    "not an id": ("GET", "/v1/payments/abc", {}, 404, "unknown_payment", None),
    "id in capitals": ("GET", NOBODY.upper().replace("V1/PAYMENTS", "v1/payments"), {}, 404,
                       "unknown_payment", None),
    "no payment": ("GET", NOBODY, {}, 404, "unknown_payment", None),
    "capture of no payment": ("POST", f"{NOBODY}/capture", {"headers": key()}, 404,
                              "unknown_payment", None),
    "no key": ("POST", CREATE, {"json": body()}, 400, "idempotency_key_missing", None),
    "empty key": ("POST", CREATE, {"json": body(), "headers": key(" ")}, 400,
                  "idempotency_key_malformed", None),
    "long key": ("POST", CREATE, {"json": body(), "headers": key("k" * 256)}, 400,
                 "idempotency_key_malformed", None),
    "key beyond ASCII": ("POST", CREATE, {"json": body(), "headers": {"Idempotency-Key": b"\xe4"}},
                         400, "idempotency_key_malformed", None),
    "two keys": ("POST", CREATE, {"json": body(), "headers": [("Idempotency-Key", "a"),
                                                             ("Idempotency-Key", "b")]},
                 400, "idempotency_key_malformed", None),
    "not JSON": ("POST", CREATE, raw("{"), 400, "invalid_json", None),
    "no body": ("POST", CREATE, {"headers": key()}, 422, "field_missing", ""),
    "an array": ("POST", CREATE, raw("[]"), 422, "field_invalid", ""),
    "null": ("POST", CREATE, raw("null"), 422, "field_invalid", ""),
    "NaN": ("POST", CREATE, raw('{"amount": NaN}'), 400, "invalid_json", None),
    "Infinity": ("POST", CREATE, raw('{"amount": -Infinity}'), 400, "invalid_json", None),
    "huge number": ("POST", CREATE, raw(f'{{"amount": {"9" * 5000}}}'), 400, "invalid_json", None),
    "deep": ("POST", CREATE, raw("[" * 100_000), 400, "invalid_json", None),
    "a key twice": ("POST", CREATE, raw('{"a": 1, "a": 1}'), 400, "duplicate_key", None),
    "a key twice, escaped": ("POST", CREATE, raw('{"a": 1, "\\u0061": 1}'), 400, "duplicate_key",
                             None),
    "byte order mark": ("POST", CREATE, raw("\ufeff{}"), 400, "invalid_json", None),
    "not UTF-8": ("POST", CREATE, raw(b'{"a": "\xe4"}'), 400, "invalid_encoding", None),
    "half a surrogate": ("POST", CREATE, raw('{"a": "\\ud800"}'), 400, "invalid_encoding", None),
    "latin-1": ("POST", CREATE, raw("{}", **{"Content-Type": "application/json; charset=latin-1"}),
                415, "unsupported_media_type", None),
    "form": ("POST", CREATE, {"data": {"a": "b"}, "headers": key()}, 415,
             "unsupported_media_type", None),
    "compressed": ("POST", CREATE, raw("{}", **{"Content-Encoding": "gzip"}), 415,
                   "unsupported_media_type", None),
    "too large": ("POST", CREATE, raw(" " * (256 * 1024 + 1)), 413, "body_too_large", None),
    "unknown field": ("POST", CREATE, {"json": body(tip=1), "headers": key()}, 422,
                      "field_unknown", "/tip"),
    "unknown field inside": ("POST", CREATE, {"json": order_with(**{"a/b~c": 1}), "headers": key()},
                             422, "field_unknown", "/orders/0/a~1b~0c"),
    "missing field": ("POST", CREATE, {"json": body(buyer_id=None), "headers": key()}, 422,
                      "field_missing", "/buyer_id"),
    "float": ("POST", CREATE, {"json": order_with(amount_minor=25.0), "headers": key()}, 422,
              "field_invalid", "/orders/0/amount_minor"),
    "bool": ("POST", CREATE, {"json": order_with(amount_minor=True), "headers": key()}, 422,
             "field_invalid", "/orders/0/amount_minor"),
    "text": ("POST", CREATE, {"json": order_with(amount_minor="2500"), "headers": key()}, 422,
             "field_invalid", "/orders/0/amount_minor"),
    "zero": ("POST", CREATE, {"json": order_with(amount_minor=0), "headers": key()}, 422,
             "amount_not_positive", "/orders/0/amount_minor"),
    "30 digits": ("POST", CREATE, {"json": order_with(amount_minor=10**30), "headers": key()}, 422,
                  "amount_too_large", "/orders/0/amount_minor"),
    "no orders": ("POST", CREATE, {"json": body(orders=[]), "headers": key()}, 422, "no_orders",
                  "/orders"),
    "currency": ("POST", CREATE, {"json": body(currency="eur"), "headers": key()}, 422,
                 "unknown_currency", "/currency"),
    "method": ("POST", CREATE, {"json": body(method="cash"), "headers": key()}, 422,
               "field_invalid", "/method"),
    "id with a space": ("POST", CREATE, {"json": body(buyer_id="b 3"), "headers": key()}, 422,
                        "invalid_identifier", "/buyer_id"),
    "direct without token": ("POST", CREATE, {"json": body(payment_token=None), "headers": key()},
                             422, "field_missing", "/payment_token"),
    "hosted with token": ("POST", CREATE, {"json": body(flow="hosted"), "headers": key()}, 422,
                          "field_invalid", "/payment_token"),
    "hosted without return": ("POST", CREATE, {"json": body(flow="hosted", payment_token=None),
                                               "headers": key()}, 422, "field_missing",
                              "/return_url"),
    "return to a script": ("POST", CREATE, {"json": body(return_url="javascript:alert(1)"),
                                            "headers": key()}, 422, "field_invalid", "/return_url"),
    "limit": ("GET", f"{CREATE}?limit=0", {}, 422, "field_invalid", "/limit"),
    "unknown parameter": ("GET", f"{CREATE}?sort=asc", {}, 422, "field_unknown", "/sort"),
    "cursor": ("GET", f"{CREATE}?cursor=abc", {}, 422, "field_invalid", "/cursor"),
    "no day": ("GET", f"{CREATE}?from=2026-02-30", {}, 422, "field_invalid", "/from"),
    "no zone": ("GET", f"{CREATE}?to=2026-02-03T00:00:00", {}, 422, "field_invalid", "/to"),
    "far away": ("GET", f"{CREATE}?to=9999-12-31", {}, 422, "field_invalid", "/to"),
    "backwards": ("GET", f"{CREATE}?from=2026-02-03&to=2026-02-01", {}, 422, "field_invalid",
                  "/to"),
    "no id in a filter": ("GET", f"{CREATE}?seller_id=a%00b", {}, 422, "field_invalid",
                          "/seller_id"),
    "no id in a path": ("GET", "/v1/sellers/a%20b/balance", {}, 422, "field_invalid",
                        "/seller_id"),
    "request id": ("GET", CREATE, {"headers": {"X-Request-Id": "a b"}}, 400,
                   "request_id_malformed", None),
    "major amount": ("POST", "/payments/init", {"json": {
        "user_id": "b", "merchant_id": "s", "amount": "1e3", "currency": "EUR", "card_token": "t",
    }}, 422, "field_invalid", "/amount"),
    "finer than the currency": ("POST", "/payments/init", {"json": {
        "user_id": "b", "merchant_id": "s", "amount": "1.5", "currency": "JPY", "card_token": "t",
    }}, 422, "field_invalid", "/amount"),
    "webhook unsigned": ("POST", "/webhooks/stripe", {"content": b"{}"}, 400, "signature_invalid",
                         None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_is_a_problem(name: str) -> None:
    method, path, request, status, code, field = CASES[name]
    answer = send(method, path, **request)
    found = answer.json()
    assert (answer.status_code, found["code"], found.get("field")) == (status, code, field), found
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert found["request_id"] == answer.headers["x-request-id"]
    assert (found["status"], found["title"]) == (status, PROBLEMS[code].title)
    assert found["type"] == f"/docs/problems#{code}"


def test_several_wrong_fields_are_named_together() -> None:
    answer = send("POST", CREATE, json=body(buyer_id=None, currency=3, x=1), headers=key())
    found = answer.json()
    assert (answer.status_code, found["code"]) == (422, "request_invalid")
    assert {(each["field"], each["code"]) for each in found["errors"]} == {
        ("/buyer_id", "field_missing"),
        ("/currency", "field_invalid"),
        ("/x", "field_unknown"),
    }


def test_allow_names_the_methods() -> None:
    assert "GET" in send("DELETE", NOBODY).headers["allow"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ServiceUnavailable("postgres at db-7 is down"), 503, "unavailable"),
     # Repeating it does not help, so nobody is told to.
     (SchemaVersionError("database at db-7 has no schema"), 500, "internal_error"),
     (WriteRefused("postgres at db-7 refuses it"), 500, "internal_error"),
     (RuntimeError("postgresql://purser:hunter2@db refuses"), 500, "internal_error")],
)  # fmt: skip
def test_failures_say_nothing_of_the_inside(
    error: Exception, status: int, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PURSER_HOME", str(tmp_path))

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("writer.append.AsyncWriter.load", fail)
    answer = send("GET", NOBODY)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "db-7" not in answer.text
    assert "postgres" not in answer.text
    assert "hunter2" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


def test_every_code_has_an_example() -> None:
    for code in PROBLEMS:
        example = openapi.example_of(code)
        assert (example["code"], example["status"]) == (code, PROBLEMS[code].status)

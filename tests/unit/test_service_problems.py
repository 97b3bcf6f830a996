"""How the API says no: one table of codes, and what becomes of each error."""

import asyncio
import json
from typing import Any

import pytest
from starlette.routing import compile_path

from schemas.errors import Rejection, SchemaVersionError, ServiceUnavailable, WriteRefused
from schemas.rejections import RejectionCode
from service import openapi
from service.problems import (
    MEDIA_TYPE,
    PROBLEMS,
    REJECTIONS,
    FieldError,
    Problem,
    no_such_payment,
    of_rejection,
    pointer,
)
from service.routes import ROUTES
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
        ("metadata.a/b~c", "/metadata/a~1b~0c"),
        ("metadata.a[0].b", "/metadata/a[0].b"),
    ],
)
def test_the_writers_names_become_pointers(name: str, expected: str) -> None:
    assert pointer(name) == expected


def test_a_refusal_keeps_its_code_and_takes_the_bodys_names() -> None:
    rejection = Rejection(code="amount_too_large", field="orders[0].amount_minor", problem="is big")
    problem = of_rejection(rejection, names={"orders[0].amount_minor": "amount"}, currency="EUR")
    assert (problem.code, problem.field, problem.detail) == (
        "amount_too_large",
        "/amount",
        "amount: is big; correct the field that `field` names",
    )


def test_details_speak_of_payments_and_not_of_events() -> None:
    world = ApiWorld()

    async def work() -> list[str]:
        async with world.client("service finance") as client:

            async def detail(path: str, content: Any, code: str) -> str:
                answer = await client.post(path, json=content, headers=key())
                assert answer.json().get("code") == code, path
                return str(answer.json()["detail"])

            paid = f"/v1/payments/{(await world.paid())['id']}"
            held = f"/v1/payments/{(await world.paid(capture='manual'))['id']}"
            await client.post(f"{paid}/deliver", json={}, headers=key())
            payout = {"merchant_id": "s-7", "amount": "1.00", "currency": "EUR"}
            return [
                await detail(f"{paid}/cancel", {"order_id": "o-1"}, "illegal_transition"),
                await detail(f"{paid}/confirm", {}, "illegal_transition"),
                await detail(f"{paid}/ship", {}, "illegal_transition"),
                await detail(f"{paid}/refunds", {"amount_minor": 2501}, "refund_above_captured"),
                await detail(f"{held}/capture", {"amount_minor": 2501}, "capture_above_amount"),
                await detail("/payouts/schedule", payout, "payout_above_balance"),
            ]

    try:
        found = asyncio.run(work())
    finally:
        world.close()
    for detail in found:
        for word in ("command", "_requested", "; possible", "stray"):
            assert word not in detail, detail
        assert ";" in detail, detail  # and what to do
    assert found[0] == (
        "a cancellation is not possible: order o-1 is captured (fulfilment delivered, dispute"
        " none); read the payment and decide again"
    )
    assert found[3] == (
        "amount_minor: is 2501, but only 2500 of it can be refunded; read the payment or the"
        " balance and ask for at most what is left"
    )
    assert found[5].startswith("amount: is 1.00, but seller s-7 has 0.00 available in EUR; ")


@pytest.mark.parametrize(
    ("currency", "problem", "detail"),
    [
        ("EUR", "is 0; give at least 1", "amount: is 0.00; give at least 0.01"),
        ("JPY", "is 0; give at least 1", "amount: is 0; give at least 1"),
        ("KWD", "is 9; at most 1000000", "amount: is 0.009; at most 1000.000"),
        (
            "EUR",
            "is 100, but seller 7 has 5 available; ask for less",
            "amount: is 1.00, but seller 7 has 0.05 available; ask for less",
        ),
        (
            "EUR",
            "is 100, more than seller has-8 has available; ask for less",
            "amount: is 1.00, more than seller has-8 has available; ask for less",
        ),
    ],
)
def test_what_was_asked_in_major_units_is_answered_in_them(
    currency: str, problem: str, detail: str
) -> None:
    rejection = Rejection(code="amount_too_large", field="amount_minor", problem=problem)
    names = {"amount_minor": "amount"}
    assert of_rejection(rejection, names=names, currency=currency).detail == detail
    assert of_rejection(rejection, currency=currency).detail == f"amount_minor: {problem}"


@pytest.mark.parametrize("code", ["unknown_payment", "wrong_direction"])
def test_an_id_of_no_payment_is_told_to_everybody_in_the_same_words(code: str) -> None:
    rejection = Rejection(code=code, field="payment_id", problem="there is no payment; create it")
    problem = of_rejection(rejection)
    assert (problem.code, problem.detail) == (code, no_such_payment().detail)


def test_a_field_is_named_in_one_way() -> None:
    world = ApiWorld()

    async def work() -> list[str]:
        async with world.client("service") as client:
            bodies: tuple[Any, ...] = (
                body(orders=[{"order_id": "o-1", "seller_id": "s-7", "amount_minor": "1"}]),
                [],
            )
            answers = [
                await client.post("/v1/payments", json=each, headers=key()) for each in bodies
            ]
            return [each.json()["detail"] for each in answers]

    try:
        [order, whole] = asyncio.run(work())
    finally:
        world.close()
    assert order.startswith("orders[0].amount_minor: input should be a valid integer")
    assert whole == "the body: is no JSON object"


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
    **{
        f"return to {url}": ("POST", CREATE, {"json": body(return_url=url), "headers": key()}, 422,
                             "field_invalid", "/return_url")
        for url in ("https://me:secret@shop.example/", "https://me@shop.example/",
                    "https://@shop.example/", "https://shop.example:99999/",
                    "https://shop.example:0/", "https://shop.example:x/", "https://:443/")
    },
    **{
        f"limit {text}": ("GET", f"{CREATE}?limit={text}", {}, 422, "field_invalid", "/limit")
        for text in ("0", "101", "1_0", "%201", "1%20", "+1", "%2B1", "1.0", "-1", "%D9%A1", "")
    },
    "a parameter by the name of our attribute": ("GET", f"{CREATE}?from_=2026-01-01", {}, 422,
                                                 "field_unknown", "/from_"),
    "a parameter twice": ("GET", f"{CREATE}?buyer_id=b-3&buyer_id=b-4", {}, 422, "field_invalid",
                          "/buyer_id"),
    "the same twice": ("GET", "/v1/sellers/s-7/statement?limit=5&limit=5", {}, 422,
                       "field_invalid", "/limit"),
    "a day before": ("GET", f"{CREATE}?from=2026-01-02&to=2026-01-01", {}, 422, "field_invalid",
                     "/to"),
    "a period that no row is in": ("GET", f"{CREATE}?from=2100-01-01", {}, 422, "field_invalid",
                                   "/from"),
    "a day before the first": ("GET", f"{CREATE}?to=1969-12-31", {}, 422, "field_invalid", "/to"),
    "unknown parameter": ("GET", f"{CREATE}?sort=asc", {}, 422, "field_unknown", "/sort"),
    "unknown parameter of a payment": ("GET", f"{NOBODY}?expand=orders", {}, 422, "field_unknown",
                                       "/expand"),
    "unknown parameter of a balance": ("GET", "/v1/sellers/s-7/balance?currency=EUR", {}, 422,
                                       "field_unknown", "/currency"),
    "parameter of a POST": ("POST", f"{CREATE}?a~b/c=1", {"json": body(), "headers": key()}, 422,
                            "field_unknown", "/a~0b~1c"),
    "JSON is the last thing wanted": ("GET", CREATE, {"headers": {
        "Accept": "application/json;q=0"}}, 406, "not_acceptable", None),
    "anything but JSON": ("GET", CREATE, {"headers": {
        "Accept": "*/*, application/json; q=0.000"}}, 406, "not_acceptable", None),
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
    "too many orders": ("POST", CREATE, {"json": body(orders=[
        order_with()["orders"][0] | {"order_id": f"o-{n}"} for n in range(1001)]),
        "headers": key()}, 422, "too_many_orders", "/orders"),
    "an order twice": ("POST", CREATE, {"json": body(orders=order_with()["orders"] * 2),
                                        "headers": key()}, 422, "duplicate_order",
                       "/orders/1/order_id"),
    "negative share": ("POST", CREATE, {"json": order_with(commission_minor=-1), "headers": key()},
                       422, "share_negative", "/orders/0/commission_minor"),
    "shares above": ("POST", CREATE, {"json": order_with(commission_minor=9000), "headers": key()},
                     422, "shares_above_amount", "/orders/0/commission_minor"),
    "much metadata": ("POST", CREATE, {"json": body(metadata={str(n): "" for n in range(21)}),
                                       "headers": key()}, 422, "too_much_metadata", "/metadata"),
    "invisible text": ("POST", CREATE, {"json": body(metadata={"a": "\n"}), "headers": key()}, 422,
                       "invalid_text", "/metadata/a"),
    "huge capture": ("POST", f"{NOBODY}/capture", {"json": {"amount_minor": 10**20},
                                                   "headers": key()}, 404, "unknown_payment", None),
    "two wrong parameters": ("GET", f"{CREATE}?limit=0&sort=asc", {}, 422, "request_invalid", None),
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
    if (documented := codes_of(method, path)) is not None:
        assert code in documented


def codes_of(method: str, path: str) -> list[str] | None:
    """The codes that the OpenAPI document has for a request; None if it is of no operation."""
    for route in ROUTES:
        matches = compile_path(route.path)[0].fullmatch(path.partition("?")[0])
        if matches and route.method == method:
            return openapi.codes_of(route)
    return None


@pytest.mark.parametrize(
    "accept",
    [
        "application/json;q=0.1",
        "text/html, application/json ; q=1",
        "application/*",
        "text/html;q=0, */*;q=0.001",
        "application/problem+json",
        "application/json;q=x",
        "APPLICATION/JSON",
    ],
)
def test_json_is_given_to_whoever_takes_it(accept: str) -> None:
    assert send("GET", CREATE, headers={"Accept": accept}).status_code == 200


def test_several_unknown_parameters_are_named_together() -> None:
    answer = send("GET", f"{NOBODY}?a=1&b=2&a=3")
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert [each["field"] for each in answer.json()["errors"]] == ["/a", "/b"]
    assert {each["in"] for each in answer.json()["errors"]} == {"query"}


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("a/b~c", "x" * 600, "/metadata/a~1b~0c"),
        ("a[0].b", "x" * 600, "/metadata/a[0].b"),
        ("näme", "x" * 600, "/metadata/näme"),
        # There is nothing below a name, so the object that has it is what is wrong.
        ("x" * 41, "yes", "/metadata"),
    ],
)
def test_a_pointer_into_metadata_points_to_what_is_there(name: str, value: str, field: str) -> None:
    metadata = {"good": "yes", name: value}
    answer = send("POST", CREATE, json=body(metadata=metadata), headers=key())
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


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
    ("method", "path", "allow"),
    [
        ("PUT", CREATE, "GET, HEAD, POST"),
        ("PUT", NOBODY, "GET, HEAD"),
        ("GET", f"{NOBODY}/capture", "POST"),
        ("HEAD", f"{NOBODY}/capture", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_allow_names_all_methods_of_the_path(method: str, path: str, allow: str) -> None:
    answer = send(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


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


LONG = "n" * 100_000


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", CREATE, {"json": body(**{LONG: 1}), "headers": key()}),
        ("POST", CREATE, {"json": body(metadata={LONG: 1}), "headers": key()}),
        ("POST", CREATE, {"json": body(metadata={LONG: "x"}), "headers": key()}),
        ("POST", CREATE, {"json": body(**{LONG: 1, f"a{LONG}": 2}), "headers": key()}),
        ("GET", f"{CREATE}?{LONG[:9000]}=1", {}),
        ("GET", f"{CREATE}?{LONG[:9000]}=1&{LONG[:9000]}=1", {}),
        ("GET", f"/v1/sellers/s-7/balance?{LONG[:9000]}=1", {}),
    ],
)
def test_a_long_name_comes_back_cut(method: str, path: str, sent: dict[str, Any]) -> None:
    world = ApiWorld()

    async def work() -> None:
        async with world.client() as client:
            answer = await client.request(method, path, **sent)
            assert answer.status_code == 422
            assert len(answer.content) < 1000

    try:
        asyncio.run(work())
    finally:
        world.close()

"""Schemathesis walks the OpenAPI document: no 5xx, and every answer is as documented.

In process, on a store and a processor in memory. Requests are valid and invalid ones, in roles that
may do everything.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service import openapi
from service.app import new_application
from service.problems import MEDIA_TYPE
from tests.service_world import ApiWorld, token

DOCUMENT = json.loads(json.dumps(openapi.document(new_application())))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def world() -> Iterator[ApiWorld]:
    made = ApiWorld()
    yield made
    made.close()


async def send(world: ApiWorld, request: dict[str, Any]) -> httpx.Response:
    async with world.client("") as client:
        return await client.request(**request)


@SCHEMA.parametrize()
@settings(
    max_examples=40,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
def test_every_answer_is_documented(case: Any, world: ApiWorld) -> None:
    kwargs = case.as_transport_kwargs(base_url="http://api")
    headers = {**kwargs.get("headers", {}), "Authorization": f"Bearer {token('admin finance')}"}
    request = {
        "method": kwargs["method"],
        "url": kwargs["url"],
        "params": kwargs.get("params"),
        "headers": [(name, str(value).encode("utf-8")) for name, value in headers.items()],
    }
    if "json" in kwargs:
        request["json"] = kwargs["json"]
    elif kwargs.get("data") is not None:
        request["content"] = kwargs["data"]
    answer = asyncio.run(send(world, request))
    case.validate_response(Response.from_httpx(answer, verify=True), checks=CHECKS)
    if answer.headers["content-type"] == MEDIA_TYPE and (codes := documented(case, answer)):
        assert answer.json()["code"] in codes


def documented(case: Any, answer: httpx.Response) -> set[str]:
    """The codes that the document has for this operation and status; empty if it names none."""
    operation = DOCUMENT["paths"][case.path].get(case.method.lower())
    if operation is None:  # a method that the path does not have
        return {"method_not_allowed"}
    content = operation["responses"][str(answer.status_code)]["content"][MEDIA_TYPE]
    return set(content.get("examples", ()))

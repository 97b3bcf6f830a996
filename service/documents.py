"""Pages about the API: the OpenAPI document, `/docs`, the problems, and the local issuer's keys.

`/docs` is plain HTML made from the OpenAPI document. It loads nothing, from here or elsewhere, and
runs no script, so it works offline and under the strictest policy.
"""

import json
from functools import cache
from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service import openapi
from service.answers import JSON
from service.facts import SCOPE
from service.problems import PROBLEMS, TYPE_PAGE, Problem

KEYS_PATH = "/.well-known/jwks.json"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font: 13px/1.4 ui-monospace, monospace; } pre { background: #f4f4f4; padding: .7rem;
overflow-x: auto; } table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px
solid #ddd; padding: .3rem .5rem; text-align: left; vertical-align: top; } h2 { margin-top: 2.5rem;
border-top: 2px solid #222; padding-top: .7rem; } summary { cursor: pointer; } .m { font-weight:
700; } @media (prefers-color-scheme: dark) { body { background: #16181b; color: #e6e6e6; } pre {
background: #24272b; } td, th { border-color: #444; } h2 { border-color: #888; } a { color:
#9bf; } }
"""


def add_pages(app: FastAPI) -> None:
    """Add the routes."""
    # Made once: whoever asks needs no token, and making /docs takes 20 ms of the event loop.
    document = cache(lambda: json.dumps(openapi.document(app)).encode())
    docs_html = cache(lambda: docs_page(json.loads(document())).encode())
    problems_html = cache(lambda: problems_page().encode())

    async def openapi_json(request: Request) -> Response:
        _named(request, "openapi")
        return Response(document(), media_type=JSON)

    async def docs(request: Request) -> Response:
        _named(request, "docs")
        return _html(docs_html())

    async def problems(request: Request) -> Response:
        _named(request, "problems")
        return _html(problems_html())

    async def keys(request: Request) -> Response:
        _named(request, "keys")
        found: bytes | None = request.app.state.keys_document
        if found is None:
            raise Problem("not_found", "tokens are issued elsewhere: see PURSER_JWKS_URL")
        return Response(found, media_type="application/jwk-set+json")

    for path, page in (
        ("/openapi.json", openapi_json),
        ("/docs", docs),
        (TYPE_PAGE, problems),
        (KEYS_PATH, keys),
    ):
        app.router.add_api_route(path, page, include_in_schema=False)


def docs_page(document: dict[str, Any]) -> str:
    """The page about every operation."""
    found = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    contents = "".join(
        f'<li><a href="#{_id(operation)}"><code>{method.upper()} {escape(path)}</code></a>'
        f" {escape(operation.get('summary', ''))}</li>"
        for path, method, operation in found
    )
    sections = "".join(_operation(*each, document) for each in found)
    introduction = "".join(
        f"<p>{escape(line.lstrip('- '))}</p>"
        for line in document["info"]["description"].split("\n- ")
    )
    links = f'<p><a href="/openapi.json">OpenAPI 3.1</a> · <a href="{TYPE_PAGE}">Problems</a></p>'
    return _page("Purser: the API", f"{introduction}{links}<ul>{contents}</ul>{sections}")


def problems_page() -> str:
    """The page that a problem's `type` refers to."""
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{kind.status}</td>'
        f"<td>{escape(kind.title)}</td><td>{escape(kind.remedy)}</td></tr>"
        for code, kind in sorted(PROBLEMS.items(), key=lambda item: (item[1].status, item[0]))
    )
    head = "<tr><th>code</th><th>status</th><th>title</th><th>what to do</th></tr>"
    return _page("Purser: problems", f"<table>{head}{rows}</table>")


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [
        f'<h2 id="{_id(operation)}"><code><span class="m">{method.upper()}</span> {escape(path)}'
        "</code></h2>",
        *(f"<p>{escape(line)}</p>" for line in operation.get("description", "").split("\n\n")),
    ]
    if parameters := operation.get("parameters"):
        rows = "".join(map(_parameter, parameters))
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th></th></tr>{rows}</table>")
    if content := operation.get("requestBody", {}).get("content", {}).get(JSON):
        parts.append(f"<p>Body:</p>{_code(content.get('example', {}))}")
        parts.append(_schema(content["schema"], document))
    for status, response in operation["responses"].items():
        parts.append(_response(status, response))
    return "".join(parts)


def _parameter(parameter: dict[str, Any]) -> str:
    needed = "required. " if parameter.get("required") else ""
    text = parameter.get("description") or parameter.get("schema", {}).get("description", "")
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{parameter['in']}</td>"
        f"<td>{needed}{escape(text)}</td></tr>"
    )


def _schema(schema: dict[str, Any], document: dict[str, Any]) -> str:
    name = _name(schema)
    if name is None:
        return ""
    found = document["components"]["schemas"][name]
    needed = set(found.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{escape(_type(each))}</td>"
        f"<td>{'required' if field in needed else ''}</td></tr>"
        for field, each in found.get("properties", {}).items()
    )
    return f"<details><summary>Fields</summary><table>{rows}</table></details>"


def _name(schema: dict[str, Any]) -> str | None:
    for each in (schema, *schema.get("anyOf", ())):
        if "$ref" in each:
            return str(each["$ref"]).rpartition("/")[2]
    return None


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _name(schema) or str(schema.get("type", "any"))


def _response(status: str, response: dict[str, Any]) -> str:
    examples = [
        each
        for content in response.get("content", {}).values()
        for each in (
            [content["example"]]
            if "example" in content
            else [one["value"] for one in content.get("examples", {}).values()][:1]
        )
    ]
    body = "".join(map(_code, examples))
    summary = f"<b>{status}</b> {escape(response['description'])}"
    return f"<details><summary>{summary}</summary>{body}</details>"


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"


def _id(operation: dict[str, Any]) -> str:
    return escape(str(operation.get("operationId", "")))


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{title}</h1>{body}</html>"
    )


def _html(page: bytes) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
    return Response(page, headers=headers, media_type="text/html")


def _named(request: Request, name: str) -> None:
    request.scope[SCOPE].route = name

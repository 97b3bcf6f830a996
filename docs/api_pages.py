"""Writes the tables of the pages about the HTTP API: its routes, permissions and problems."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docs.markers import replaced
from service import openapi
from service.answers import JSON
from service.app import new_application
from service.permissions import ALLOWED
from service.problems import PROBLEMS, REJECTIONS
from service.roles import Role
from service.routes import ROUTES, Route

REFERENCE = Path(__file__).parent / "reference"
API_PAGE = REFERENCE / "api.md"
PROBLEMS_PAGE = REFERENCE / "problems.md"


def problems_page(text: str) -> str:
    """docs/reference/problems.md with its two tables as the code has them."""
    refused = [code.value for code in REJECTIONS]
    own = sorted(set(PROBLEMS) - set(refused), key=lambda code: (PROBLEMS[code].status, code))
    head = ["| status | code | meaning | what to do |", "|---|---|---|---|"]
    text = replaced(text, "own codes", [*head, *_rows(own)])
    return replaced(text, "rejections", [*head, *_rows(refused)])


def _rows(codes: Iterable[str]) -> list[str]:
    return [
        f"| {PROBLEMS[code].status} | `{code}` | {PROBLEMS[code].title} | {PROBLEMS[code].remedy} |"
        for code in codes
    ]


def api_page(text: str) -> str:
    """docs/reference/api.md with roles and operations as the code has them."""
    text = replaced(text, "roles", _matrix())
    operations = "\n".join(map(_operation, ROUTES)).rstrip("\n")
    return replaced(text, "operations", [operations])


def _matrix() -> list[str]:
    head = [
        f"| operation | {' | '.join(Role)} |",
        f"|---|{'|'.join('---' for _ in Role)}|",
    ]
    return head + [
        f"| `{route.method} {route.path}` | "
        + " | ".join(ALLOWED[route.operation].get(role, "-") for role in Role)
        + " |"
        for route in ROUTES
    ]


@cache
def _document() -> dict[str, Any]:
    return openapi.document(new_application())


def _operation(route: Route) -> str:
    operation = _document()["paths"][route.path][route.method.lower()]
    parts = [f"### {route.method} {route.path}\n", f"{operation['summary']}.\n"]
    parameters = [each for each in operation["parameters"] if each["in"] != "header"]
    if parameters:
        parts += ["| parameter | in | |", "|---|---|---|", *map(_parameter, parameters), ""]
    if content := operation.get("requestBody", {}).get("content", {}).get(JSON):
        parts += [
            "| field | type | |",
            "|---|---|---|",
            *_fields(_schema_of(content["schema"])),
            "",
        ]
        parts += [_example(content["example"])]
    for status, answer in route.answers.items():
        parts += [f"{status}: {answer.description}.\n", _example(answer.example)]
    codes = sorted({*route.codes}, key=lambda code: (PROBLEMS[code].status, code))
    if codes:
        named = ", ".join(f"{PROBLEMS[code].status} `{code}`" for code in codes)
        parts += [f"Problems of its own: {named}.\n"]
    return "\n".join(parts)


def _parameter(parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    needed = "required" if parameter.get("required") else ""
    return f"| `{parameter['name']}` | {parameter['in']} | {_joined(needed, _type(schema))} |"


def _schema_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for each in (schema, *schema.get("anyOf", ())):
        if "$ref" in each:
            name = str(each["$ref"]).rpartition("/")[2]
            found: Mapping[str, Any] = _document()["components"]["schemas"][name]
            return found
    return schema


def _fields(schema: Mapping[str, Any], before: str = "") -> list[str]:
    lines = []
    for name, each in schema.get("properties", {}).items():
        needed = "required" if name in schema.get("required", ()) else ""
        lines.append(f"| `{before}{name}` | {_type(each)} | {needed} |")
        if each.get("type") == "array":
            lines += _fields(_schema_of(each["items"]), f"{before}{name}[].")
    return lines


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    limits = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"), ("maximum", "to"), ("maxLength", "up to"), ("maxItems", "up to"),
            ("maxProperties", "up to"), ("default", "default"),
        )
        if key in schema and schema[key] is not None
    ]  # fmt: skip
    return _joined(str(schema.get("type", "object")), " ".join(limits))


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _example(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1)}\n```\n"

"""Checks JSON against a schema of Stripe's OpenAPI description; strict about what it describes.

Unlike a general validator it refuses properties that the description does not have.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
Schema = Mapping[str, Any]


class Description:
    """The schemas of a description."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]

    def problems(self, name: str, value: Any) -> list[str]:
        """What is wrong with a value of a named schema; empty if nothing is."""
        return list(self._check(self._schemas[name], value, name))

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _check(self, schema: Schema, value: Any, where: str) -> Iterator[str]:
        schema = self._resolved(schema)
        if value is None:
            if not self._nullable(schema):
                yield f"{where} is null"
            return
        if "anyOf" in schema:
            found = [list(self._check(each, value, where)) for each in schema["anyOf"]]
            if all(found):
                yield from min(found, key=len)
            return
        if "enum" in schema and value not in schema["enum"] and value not in ("", None):
            yield f"{where} is {value!r}, none of {schema['enum'][:8]}"
        kind = schema.get("type")
        if kind is not None and not self._is(kind, value):
            yield f"{where} is {value!r}, not {kind}"
        elif isinstance(value, dict):
            yield from self._check_object(schema, value, where)
        elif isinstance(value, list) and "items" in schema:
            for place, each in enumerate(value):
                yield from self._check(schema["items"], each, f"{where}[{place}]")

    def _check_object(self, schema: Schema, value: dict[str, Any], where: str) -> Iterator[str]:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}.{name} is missing"
        for name, each in value.items():
            if name in properties:
                yield from self._check(properties[name], each, f"{where}.{name}")
            elif properties and "additionalProperties" not in schema:
                yield f"{where}.{name} is not described"

    def _nullable(self, schema: Schema) -> bool:
        return bool(schema.get("nullable")) or any(
            self._nullable(self._resolved(each)) for each in schema.get("anyOf", ())
        )

    @staticmethod
    def _is(kind: str, value: Any) -> bool:
        if isinstance(value, bool) and kind != "boolean":
            return False
        return isinstance(value, _TYPES[kind])

"""Stripe's lists: newest first, pages by `limit`, `starting_after`, `ending_before`, `created`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from simulators.stripe import parameters
from simulators.stripe.errors import StripeError
from simulators.stripe.kinds import Kind
from simulators.stripe.parameters import Check
from simulators.stripe.store import Body, Store, decode

LIMIT = 10
PAGING: Mapping[str, Check] = {
    "limit": parameters.limit,
    "starting_after": parameters.text,
    "ending_before": parameters.text,
    "created": parameters.span,
}
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(slots=True, kw_only=True)
class Conditions:
    """Parts of a WHERE, joined by AND, with their values."""

    parts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, part: str, *values: Any) -> None:
        """Add one part."""
        self.parts.append(part)
        self.values.extend(values)

    def span(self, column: str, given: Mapping[str, int]) -> None:
        """Add the limits of a number."""
        for bound, value in given.items():
            self.add(f"{column} {_SIGNS[bound]} ?", value)


def page_of(
    store: Store,
    kind: Kind,
    given: Mapping[str, Any],
    conditions: Conditions,
    *,
    path: str | None = None,
    render: Callable[[Body], Body] | None = None,
    decoded: bool = False,
) -> Body:
    """One page of a kind; `given` are checked parameters with those of `PAGING`."""
    backwards = _position(store, kind, given, conditions)
    limit = given.get("limit", LIMIT)
    rows = store.page(
        kind, conditions.parts, conditions.values, "ASC" if backwards else "DESC", limit + 1
    )
    more = len(rows) > limit
    rows = rows[:limit]
    if backwards:
        rows.reverse()
    data: list[Any]
    if render is not None:
        data = [render(decode(body)) for _, body in rows]
    elif decoded:
        data = [decode(body) for _, body in rows]
    else:
        data = [msgspec.Raw(body) for _, body in rows]
    return {"object": "list", "data": data, "has_more": more, "url": path or kind.path}


def _position(store: Store, kind: Kind, given: Mapping[str, Any], conditions: Conditions) -> bool:
    """Add where the page is; return whether it is read from its older end."""
    after, before = given.get("starting_after"), given.get("ending_before")
    if after and before:
        raise StripeError(
            "You can only specify one of these parameters: ending_before, starting_after.",
            param="starting_after",
        )
    span_by_number(store, kind.table, given.get("created", {}), conditions)
    if after or before:
        name = "starting_after" if after else "ending_before"
        found = store.database.row(f"SELECT n FROM {kind.table} WHERE id = ?", (after or before,))
        if found is None:
            raise StripeError(
                f"No such {kind.name}: '{after or before}'", code="resource_missing", param=name
            )
        conditions.add("n < ?" if after else "n > ?", found[0])
    return before is not None


def span_by_number(
    store: Store, table: str, given: Mapping[str, int], conditions: Conditions
) -> None:
    """Limit the time of creation. Later rows have higher numbers, so numbers limit it as well."""
    for bound, moment in given.items():
        inclusive = bound in ("gte", "lt")
        found = store.database.row(
            f"SELECT n FROM {table} WHERE created {'>=' if inclusive else '>'} ?"
            " ORDER BY created, n LIMIT 1",
            (moment,),
        )
        first = None if found is None else found[0]
        if bound in ("gt", "gte"):
            conditions.add("0") if first is None else conditions.add("n >= ?", first)
        elif first is not None:
            conditions.add("n < ?", first)

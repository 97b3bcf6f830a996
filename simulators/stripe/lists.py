"""Stripe's lists: newest first, pages by `limit`, `starting_after`, `ending_before`, `created`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from simulators.database import Database
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

    def equal(self, given: Mapping[str, Any], *names: str) -> None:
        """Add those of these parameters that are given; their columns have the same names."""
        for name in names:
            if name in given:
                self.add(f"{name} = ?", given[name])

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
        identity = str(after or before)
        found = store.database.row(
            f"SELECT n FROM {kind.table} WHERE n = ? AND id = ?",
            (store.number_of(kind, identity), identity),
        )
        if found is None:
            raise StripeError(
                f"No such {kind.name}: '{identity}'", code="resource_missing", param=name
            )
        conditions.add("n < ?" if after else "n > ?", found[0])
    return before is not None


def span_by_number(
    store: Store, table: str, given: Mapping[str, int], conditions: Conditions
) -> None:
    """Limit the time of creation; later rows have higher numbers, so numbers limit it as well."""
    for bound, moment in given.items():
        first = number_from(store.database, table, moment if bound in ("gte", "lt") else moment + 1)
        conditions.add("n >= ?" if bound in ("gt", "gte") else "n < ?", first)


def number_from(database: Database, table: str, moment: int) -> int:
    """The lowest number of a row that was created then or later, by bisection."""
    low, high = 1, int(database.row(f"SELECT coalesce(max(n), 0) FROM {table}")[0]) + 1
    while low < high:
        middle = (low + high) // 2
        row = database.row(
            f"SELECT created FROM {table} WHERE n >= ? ORDER BY n LIMIT 1", (middle,)
        )
        if row[0] >= moment:
            high = middle
        else:
            low = middle + 1
    return low

"""`expand[]`: replace the id of an object in an answer by the object, also deep inside."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from simulators.stripe import forms
from simulators.stripe.errors import StripeError
from simulators.stripe.kinds import Kind, kind_of
from simulators.stripe.store import Body, Store, decode

DEPTH_MOST = 4
PATHS_MOST = 100

EXPANDABLE = frozenset(
    {
        "latest_charge", "payment_method", "customer", "payment_intent", "charge", "refund",
        "balance_transaction", "failure_balance_transaction", "source", "dispute",
    }
)  # fmt: skip
"""Names of properties that hold an id."""

POLYMORPHIC = frozenset({"source"})
"""Properties that hold objects of several kinds, of which only some have what is asked for next."""

Rendered = Callable[[Kind, Body], Body]
Extra = Callable[[Body, str], Any]
"""Gives a property that an object shows only when it is asked for; None if it has no such one."""


def paths_of(given: Any) -> tuple[tuple[str, ...], ...]:
    """The paths of the parameter `expand`; raises StripeError."""
    if given is None or given == "":
        return ()
    listed = forms.items(given) if isinstance(given, dict) else None
    if listed is None or not all(isinstance(each, str) and each for each in listed):
        raise StripeError("Invalid array", param="expand")
    paths = tuple(tuple(each.split(".")) for each in listed)
    for path in paths:
        if len(path) - (path[0] == "data") > DEPTH_MOST or len(paths) > PATHS_MOST:
            raise StripeError(
                f"You cannot expand more than {DEPTH_MOST} levels of a property.", param="expand"
            )
    return paths


class Expansion:
    """Expands paths in answers."""

    def __init__(self, store: Store, rendered: Rendered, extra: Extra) -> None:
        self._store = store
        self._rendered = rendered
        self._extra = extra

    def apply(self, answer: Body, paths: Sequence[tuple[str, ...]]) -> Body:
        """The answer with its paths expanded; raises StripeError for one that is none."""
        plain: Body = decode(msgspec.json.encode(answer))  # raw parts become values
        for path in paths:
            self._expand(plain, path, ".".join(path))
        return plain

    def _expand(self, value: Any, path: tuple[str, ...], whole: str, of: str = "") -> None:
        if isinstance(value, list):
            for each in value:
                self._expand(each, path, whole)
            return
        if not isinstance(value, dict):
            return
        name, rest = path[0], path[1:]
        if name not in value:
            extra = self._extra(value, name) if "object" in value else None
            if extra is None and of in POLYMORPHIC and name in EXPANDABLE:
                return  # what another kind of source has
            if extra is None:
                raise _cannot(whole)
            value[name] = extra
        inner = value[name]
        if isinstance(inner, str):
            kind = kind_of(inner)
            if name not in EXPANDABLE or kind is None:
                raise _cannot(whole)
            found = self._store.find(kind, inner)
            if found is not None:
                value[name] = inner = self._rendered(kind, found)
        elif not rest and not (_expanded(inner) or (inner is None and name in EXPANDABLE)):
            raise _cannot(whole)
        if rest:
            self._expand(inner, rest, whole, name)


def _expanded(value: Any) -> bool:
    return isinstance(value, dict) and "object" in value


def _cannot(path: str) -> StripeError:
    return StripeError(f"This property cannot be expanded ({path}).", param="expand")

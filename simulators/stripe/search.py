"""Stripe's search of payment intents: `metadata['order']:'7' AND status:'succeeded'`.

The language is https://docs.stripe.com/search: fields with `:` (equal), `~` (contains), `>` `<`
`>=` `<=` (numbers), `-` before a field (not), and either AND or OR between them.
"""

import re
from dataclasses import dataclass

from simulators.stripe import parameters
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.errors import StripeError
from simulators.stripe.kinds import INTENT
from simulators.stripe.lists import Conditions
from simulators.stripe.store import Body, decode

LIMIT = 10
TEXT_FIELDS = frozenset({"currency", "status", "customer"})
NUMBER_FIELDS = frozenset({"amount", "created"})
SUBSTRING_LENGTH = 3

_TERM = re.compile(
    r"""\s*(?P<not>-)?(?P<field>[a-z_]+)(?:\[\s*(?P<quote>["'])(?P<name>(?:\\.|(?!(?P=quote)).)*)"""
    r"""(?P=quote)\s*\])?\s*(?P<sign>>=|<=|:|~|>|<)\s*"""
    r"""(?:"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>(?:\\.|[^'\\])*)'|(?P<bare>[^\s"']+))\s*"""
)
_JOINT = re.compile(r"(AND|OR|and|or)(?=\s|-)|(?=\S)")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition of a query. `value` is None for `null`."""

    field: str
    name: str | None
    sign: str
    value: str | None
    negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions that are joined by AND or by OR."""

    terms: tuple[Term, ...]
    any_of: bool


def parse(text: str) -> Query:
    """Read a query; raises StripeError."""
    terms: list[Term] = []
    joints: set[str] = set()
    position = 0
    while position < len(text.rstrip()) or not terms:
        if terms:
            joint = _JOINT.match(text, position)
            assert joint is not None, text
            joints.add((joint.group(1) or "and").lower())
            position = joint.end()
        match = _TERM.match(text, position)
        if match is None:
            raise _bad(text[position:].strip() or text)
        terms.append(_term(match))
        position = match.end()
    if len(joints) > 1:
        raise StripeError("A search query can have AND or OR, not both.", param="query")
    return Query(terms=tuple(terms), any_of=joints == {"or"})


def _term(match: re.Match[str]) -> Term:
    field, name, sign = match["field"], match["name"], match["sign"]
    quoted = match["double"] if match["double"] is not None else match["single"]
    value = match["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
    known = field == "metadata" if name is not None else field in TEXT_FIELDS | NUMBER_FIELDS
    if not known:
        raise StripeError(
            f"Field `{field}` is an unsupported search field for resource `payment_intents`.",
            param="query",
        )
    null = quoted is None and value == "null"
    if field in NUMBER_FIELDS:
        if sign == "~" or not value.isascii() or not value.isdigit():
            raise _bad(match[0])
        parameters.integer("query", value)  # one that the books can compare with
    elif sign not in (":", "~") or (quoted is None and not null):
        raise _bad(match[0])
    if sign == "~" and len(value) < SUBSTRING_LENGTH:
        raise StripeError(
            f"A substring must have at least {SUBSTRING_LENGTH} characters.", param="query"
        )
    return Term(
        field=field,
        name=None if name is None else _ESCAPED.sub(r"\1", name),
        sign=sign,
        value=None if null else value,
        negated=match["not"] is not None,
    )


def _bad(where: str) -> StripeError:
    return StripeError(
        f"We were unable to parse your search query near `{where[:50]}`. See"
        " https://docs.stripe.com/search#search-query-language for the syntax.",
        param="query",
    )


def _condition(term: Term) -> tuple[str, list[str | int]]:
    """A term in SQL."""
    values: list[str | int]
    if term.name is not None:
        test, values = "name = ?", [term.name]
        if term.value is not None:
            test += " AND instr(value, ?)" if term.sign == "~" else " AND value = ?"
            values.append(term.value)
        # `metadata['a']:null` is true without the key.
        has = f"n IN (SELECT n FROM intent_metadata WHERE {test})"
        return (f"NOT {has}" if (term.value is None) != term.negated else has), values
    if term.field in NUMBER_FIELDS:
        assert term.value is not None
        sign = "=" if term.sign == ":" else term.sign
        test, values = f"{term.field} {sign} ?", [int(term.value)]
    elif term.value is None:
        test, values = f"{term.field} IS NULL", []
    elif term.sign == "~":
        test, values = f"coalesce(instr({term.field}, ?), 0)", [term.value.lower()]
    else:
        value = term.value.lower() if term.field == "currency" else term.value
        test, values = f"coalesce({term.field} = ?, 0)", [value]
    return (f"NOT ({test})" if term.negated else test), values


def payment_intents(account: Account, call: Call) -> Body:
    """GET /v1/payment_intents/search."""
    given = parameters.checked(
        call.params,
        {"query": parameters.text, "limit": parameters.limit, "page": parameters.text},
        required=("query",),
    )
    query = parse(given["query"])
    parts, values = [], []
    for term in query.terms:
        part, more = _condition(term)
        parts.append(part)
        values += more
    conditions = Conditions()
    conditions.add(f"({(' OR ' if query.any_of else ' AND ').join(parts)})", *values)
    if "page" in given:
        conditions.add("n < ?", _number(given["page"]))
    if delay := account.faults.plan.search_delay_seconds:
        conditions.add("created <= ?", account.clock.now() - delay)
    limit = given.get("limit", LIMIT)
    rows = account.store.page(INTENT, conditions.parts, conditions.values, "DESC", limit + 1)
    more_left = len(rows) > limit
    rows = rows[:limit]
    return {
        "object": "search_result",
        "data": [decode(body) for _, body in rows],
        "has_more": more_left,
        "next_page": f"page_{rows[-1][0]}" if more_left else None,
        "url": "/v1/payment_intents/search",
    }


def _number(page: str) -> int:
    number = page.removeprefix("page_")
    if number == page or not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise StripeError(f"Invalid page: {page[:50]}", param="page")
    return int(number)

"""Finds a key that one JSON object has twice; pure.

JSON parsers take the last of several values and say nothing, so a line would record what its author
perhaps did not mean. Pydantic's parser does too. A line with more texts than were taken from it is
therefore read once more, for its keys only. Others cannot have a key twice.
"""

import json
from typing import Any

from schemas.history import HistoryPayment

_Object = list[tuple[str, Any]]


def has_more_texts(line: bytes, payment: HistoryPayment) -> bool:
    """Are there more keys and texts in the line than in the payment that was parsed from it?

    In JSON each of them has two quotation marks, or more if one is in it, and nothing else has any.
    Counting them is seven times faster than parsing the line again.
    """
    taken = _TEXTS_OF_PAYMENT + _TEXTS_OF_ORDER * len(payment.orders)
    for event in payment.events:
        taken += len(event.model_fields_set) + 2  # its keys, type and at
        taken += (event.order_id is not None) + (event.refund_id is not None)
    return line.count(b'"') != 2 * taken


_TEXTS_OF_PAYMENT = 7 + 5
"""Its keys, and all but the two lists."""
_TEXTS_OF_ORDER = 5 + 2
"""Its keys, and all but the three amounts."""


def duplicate_key(line: bytes) -> str | None:
    """Return the path of the first key that occurs twice (`orders[0].amount_minor`), or None.

    The line is JSON in UTF-8, no deeper than Pydantic reads.
    """
    found: list[_Object] = []

    def note(pairs: _Object) -> tuple[_Object]:
        if len(dict(pairs)) != len(pairs):
            found.append(pairs)
        return (pairs,)

    # Numbers stay text: nobody needs them, and Python limits how long they may be.
    decoder = json.JSONDecoder(
        object_pairs_hook=note, parse_int=str, parse_float=str, parse_constant=str
    )
    value = decoder.decode(line.decode())
    return (_path(value) or "").removeprefix(".") if found else None


def _path(value: Any) -> str | None:
    """Return the path of the first key that is there twice; an object is a tuple of its pairs."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if (path := _path(item)) is not None:
                return f"[{index}]{path}"
    elif isinstance(value, tuple):
        seen = set()
        for key, item in value[0]:
            if key in seen:
                return f".{key}"
            seen.add(key)
            if (path := _path(item)) is not None:
                return f".{key}{path}"
    return None

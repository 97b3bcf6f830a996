"""A key that is there twice, anywhere in a line and however it is written, refuses the line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from tests.histories import a_history, an_event
from writer.importing.history import parse_line

HISTORY = a_history(
    an_event("captured", amount_minor=900),
    an_event("refund_requested", 3, order_id="A", refund_id="r"),
    an_event("refunded", 4, order_id=None),
)
OBJECTS = [HISTORY, *HISTORY["orders"], *HISTORY["events"]]
PLACES = [(number, key) for number, each in enumerate(OBJECTS) for key in each]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([]), st.just({"a": "b"})
)


def _written(value: Any, place: tuple[int, str], more: str, space: str) -> str:
    """Write JSON by hand, with `more` before the key at the place and a space around colons."""
    if isinstance(value, list):
        return "[" + ",".join(_written(each, place, more, space) for each in value) + "]"
    if not isinstance(value, dict):
        return json.dumps(value)
    here = [number for number, each in enumerate(OBJECTS) if each is value]
    members = (
        (more if (here[0], key) == place else "")
        + json.dumps(key) + space + ":" + space + _written(each, place, more, space)
        for key, each in value.items()
    )  # fmt: skip
    return "{" + ",".join(members) + "}"


@given(st.sampled_from(PLACES), VALUES, st.sampled_from(["", " ", "\t"]), st.booleans())
def test_a_key_twice_is_refused(
    place: tuple[int, str], value: Any, space: str, escaped: bool
) -> None:
    key = json.dumps(place[1])
    if escaped:
        key = f'"\\u{ord(key[1]):04x}{key[2:]}'
    line = _written(HISTORY, place, f"{key}{space}:{json.dumps(value)},", space)
    with pytest.raises(InputError, match="is there twice"):
        parse_line(line.encode())
    parse_line(_written(HISTORY, (-1, ""), "", space).encode())

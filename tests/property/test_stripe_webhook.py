"""Whatever bytes arrive at the webhook, the answer is an event or an `InputError`."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.charges import ProcessorEvent
from connectors.stripe import webhook
from schemas.errors import InputError
from tests.stripe_objects import AT, charge, dispute, event, intent, listed, page, refund

NOW = datetime.fromtimestamp(AT, UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
REDIRECT = {"type": "redirect_to_url", "redirect_to_url": {"url": "u"}}
OBJECTS = [
    intent(latest_charge=charge(refunds=listed("/", refund()))),
    intent("requires_action", next_action=REDIRECT),
    intent("canceled", cancellation_reason="expired"),
    intent("requires_payment_method", last_payment_error={"code": "card_declined"}),
    page("expired"),
    page("complete"),
    refund(),
    dispute(),
    charge(),
]


def paths(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where in a document something could be replaced."""
    inner: list[tuple[object, ...]] = [at] if at else []
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for name, child in children:
        inner += paths(child, (*at, name))
    return inner


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An event with one to three values replaced by others of any type."""
    kinds = sorted(webhook.SUBJECTS)
    document: Any = json.loads(
        json.dumps(event(draw(st.sampled_from(kinds)), draw(st.sampled_from(OBJECTS))))
    )
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(paths(document)))
        parent = document
        for name in way:
            parent = parent[name]
        parent[last] = draw(JSON)
    return json.dumps(document).encode()


def reads(body: bytes) -> None:
    try:
        found = webhook.read(body)
    except InputError as refused:
        assert refused.field
        return
    assert isinstance(found, ProcessorEvent)


@given(damaged())
def test_a_damaged_event_is_read_or_refused(body: bytes) -> None:
    reads(body)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(body: bytes) -> None:
    reads(body)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    reads(json.dumps(value).encode())


@given(st.binary(max_size=100), st.text(max_size=200), st.text(min_size=1, max_size=30))
def test_no_header_by_chance_is_a_signature(body: bytes, header: str, secret: str) -> None:
    with pytest.raises(InputError):
        webhook.verify(body, header, (secret.encode("utf-8", "replace").decode(),), NOW)


@given(st.binary(max_size=100), st.text("0123456789,=tv1 abc", max_size=60))
def test_a_header_of_the_right_letters_is_no_signature(body: bytes, header: str) -> None:
    with pytest.raises(InputError):
        webhook.verify(body, f"t={AT},{header}", ("whsec_1",), NOW)

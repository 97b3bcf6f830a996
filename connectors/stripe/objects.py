"""Reading Stripe's objects: each field is of the type that Stripe documents, or the answer is bad.

Pure. Objects come as parsed JSON; a field that is expandable can be an id or the object itself.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from connectors.stripe.failures import unreadable
from schemas.errors import InputError
from schemas.ids import MAX_IDEMPOTENCY_KEY_LENGTH, check_id

Object = Mapping[str, object]
TEXT_LENGTH_MOST = 5000
"""Of every text that Stripe documents."""
SECONDS_MOST = 32_503_680_000  # the year 3000


def text(source: Object, field: str) -> str:
    """Return a text that is there and not empty.

    Raises:
        Unreadable: it is not; as in every function here.
    """
    value = source.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH_MOST:
        raise unreadable(f"no text in {field!r}")
    return value


def identifier(source: Object, field: str) -> str:
    """Return an id of Stripe's: opaque, printable, short enough for our table."""
    try:
        return check_id(field, text(source, field), max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
    except InputError:
        raise unreadable(f"no id in {field!r}") from None


def optional_text(source: Object, field: str) -> str | None:
    """Return a text, or None for null, nothing and the empty text."""
    return text(source, field) if source.get(field) not in (None, "") else None


def integer(source: Object, field: str) -> int:
    """Return a whole number."""
    value = source.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise unreadable(f"no whole number in {field!r}")
    return value


def time(source: Object, field: str) -> datetime:
    """Return a time, which Stripe writes in Unix seconds."""
    seconds = integer(source, field)
    if not 0 <= seconds <= SECONDS_MOST:
        raise unreadable(f"no time in {field!r}")
    return datetime.fromtimestamp(seconds, UTC)


def optional_time(source: Object, field: str) -> datetime | None:
    """Return a time, or None for null and nothing."""
    return time(source, field) if source.get(field) is not None else None


def part(source: Object, field: str) -> Object | None:
    """Return an object inside another; None if it is absent, null or only an id."""
    value = source.get(field)
    if value is None or isinstance(value, str):
        return None
    if not isinstance(value, Mapping):
        raise unreadable(f"no object in {field!r}")
    return value


def items(source: Object) -> Sequence[Object]:
    """Return what a list of Stripe's holds on this page."""
    data = source.get("data")
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        raise unreadable("no list in 'data'")
    return data


def has_more(source: Object) -> bool:
    """Whether a list has further pages."""
    return source.get("has_more") is True


def id_of(source: Object, field: str) -> str | None:
    """Return the id in an expandable field, expanded or not; None for null and nothing."""
    value = source.get(field)
    if isinstance(value, Mapping):
        return identifier(value, "id")
    return identifier(source, field) if value not in (None, "") else None


def metadata(source: Object, name: str) -> str | None:
    """Return an entry of the metadata."""
    entries = part(source, "metadata")
    value = entries.get(name) if entries is not None else None
    return value if isinstance(value, str) and value else None


def payment_id(source: Object, name: str) -> UUID | None:
    """Return our payment's id in the metadata; None if there is none of that form."""
    value = metadata(source, name)
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


def sequence(source: Object, name: str) -> int | None:
    """Return a `seq` in the metadata; None if there is none of that form."""
    value = metadata(source, name)
    return int(value) if value and value.isascii() and value.isdecimal() else None

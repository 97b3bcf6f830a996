"""Cursors: where a list goes on, opaque to the client. Pure.

A cursor holds the position of the last row that was given, and a digest of the filters: rows that
are added meanwhile shift nothing, and a cursor cannot be used with other filters by mistake. It is
not signed, because it grants nothing: the filters are checked with every page.
"""

import base64
import binascii
import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from service.problems import Problem
from service.times import FIRST, LAST

LENGTH_MOST = 512
_DIGEST_BYTES = 8


class Position(NamedTuple):
    """The row that a page ended with: when it was recorded, and of which payment it is."""

    recorded_at: datetime
    payment_id: UUID


_decoder = msgspec.msgpack.Decoder(tuple[bytes, list[int | str]])


def encode(parts: list[int | str], filters: object) -> str:
    """The text of a cursor."""
    packed = msgspec.msgpack.encode((digest(filters), parts))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode(text: str, filters: object, shape: tuple[type, ...]) -> list[int | str]:
    """What `encode` was given; `shape` are the types of its parts.

    Raises:
        Problem: not one of ours, or of a list with other filters.
    """
    try:
        if len(text) > LENGTH_MOST or not text.isascii():
            raise ValueError
        padded = text + "=" * (-len(text) % 4)
        found, parts = _decoder.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise not_ours() from None
    if found != digest(filters):
        raise _invalid("belongs to a list with other filters; begin without a cursor")
    if tuple(type(part) for part in parts) != shape:
        raise not_ours()
    return parts


def encode_position(position: Position, filters: object) -> str:
    """The cursor of a list of payments."""
    micros = (position.recorded_at - FIRST) // timedelta(microseconds=1)
    return encode([micros, str(position.payment_id)], filters)


def decode_position(text: str, filters: object) -> Position:
    """The position in a cursor of a list of payments; raises Problem."""
    micros, payment_id = decode(text, filters, (int, str))
    try:
        recorded_at = FIRST + timedelta(microseconds=int(micros))
        found = Position(recorded_at, UUID(str(payment_id)))
    except (ValueError, OverflowError):
        raise not_ours() from None
    if not FIRST <= recorded_at < LAST:  # searches reckon with it
        raise not_ours()
    return found


def digest(filters: object) -> bytes:
    """Stands for the filters; the same for equal ones."""
    return hashlib.sha256(repr(filters).encode()).digest()[:_DIGEST_BYTES]


def not_ours() -> Problem:
    """The problem of a cursor that somebody made up."""
    return _invalid("is not one that this list gave; begin without a cursor")


def _invalid(problem: str) -> Problem:
    return Problem("field_invalid", f"cursor: {problem}", field="/cursor", more={"in": "query"})

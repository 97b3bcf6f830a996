"""The contents of an event's `details`: Pydantic models, one per event type.

The columns of `payments` are the same for every event; facts that only some events have are in
`details`. `schemas/effects.py` says which model an event has. The models are strict and reject
unknown fields: the writer creates `details` with them, and readers of the column may rely on them.
"""

from typing import TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Asked(_Strict):
    """The part of a request that its rows do not show; only on the first row of a command.

    A request without an order means every order, and one without an amount means all that is left.
    Rows alone cannot distinguish "all that is left" from the same amount given as a number, but the
    request must be recognized when its idempotency key comes back.
    """

    order_id: str | None = None
    amount_minor: int | None = None


class Details(_Strict):
    """Details that every event may have."""

    asked: Asked | None = None


class ReasonDetails(Details):
    """`reason`: the provider's code, such as `card_declined`; never free text about a person."""

    reason: str | None = None


class RefundDetails(Details):
    """`refund_id` links a refund's request to its outcome; absent if the refund was not requested.

    The same id on the same payment is the same refund.
    """

    refund_id: str | None = None


class RefundFailedDetails(RefundDetails, ReasonDetails):
    """A refund that was requested and did not happen."""


MAX_DETAILS_BYTES = 65_536
"""Of the text, as PostgreSQL writes jsonb and Debezium sends it. The guards refuse more."""

NO_DETAILS = "{}"
"""The details of most rows."""


def details_text(details: Details) -> str:
    """Return `details` as the JSON text of the column, without absent facts."""
    return canonical_details(details.model_dump_json(exclude_none=True))


def canonical_details(text: str) -> str:
    """Return the canonical form of a JSON object, sorted and without spaces, unlike jsonb's."""
    return msgspec.json.encode(msgspec.json.decode(text), order="sorted").decode()


_Model = TypeVar("_Model", bound=Details)


def parse_details(model: type[_Model], text: str) -> _Model:
    """Parse the details of one event, whose model is in the table of effects.

    Raises:
        pydantic.ValidationError: `text` does not fit the model.
    """
    return model.model_validate_json(text)

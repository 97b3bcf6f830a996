"""What `details` of an event may hold: Pydantic models, one of which each event type has.

The columns of `payments` are the same for every event; the few facts that only some events have
stand here. `schemas/effects.py` says which model an event has. Models are strict and refuse
unknown fields: the writer makes `details` with them, and readers of the column may rely on them.
"""

from typing import TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Asked(_Strict):
    """The part of a request that its rows do not show; on the first row of a command only.

    A request that names no order means every order, one without an amount means all that is left.
    Rows alone cannot tell "all that is left" from the same amount in figures, and the request must
    be known again when its idempotency key comes back.
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
    """`refund_id` ties a refund's request to its outcome; absent for a refund nobody asked us for.

    The same id at the same payment is the same refund.
    """

    refund_id: str | None = None


class RefundFailedDetails(RefundDetails, ReasonDetails):
    """A refund that was asked for and did not happen."""


NO_DETAILS = "{}"
"""What most rows have."""


def details_text(details: Details) -> str:
    """`details` as the JSON text of the column: absent facts left out."""
    return canonical_details(details.model_dump_json(exclude_none=True))


def canonical_details(text: str) -> str:
    """The one way to write a JSON object: sorted, without spaces; jsonb has a way of its own."""
    return msgspec.json.encode(msgspec.json.decode(text), order="sorted").decode()


_Model = TypeVar("_Model", bound=Details)


def parse_details(model: type[_Model], text: str) -> _Model:
    """The details of one event, whose model is in the table of effects.

    Raises:
        pydantic.ValidationError: `text` is not what the model says.
    """
    return model.model_validate_json(text)

"""The contents of an event's `details`: Pydantic models, one per event type.

The columns of `payments` are the same for every event; facts that only some events have are in
`details`. `schemas/effects.py` says which model an event has. The models are strict and reject
unknown fields: the writer creates `details` with them, and readers of the column may rely on them.
"""

from typing import Literal, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ConfigDict

CaptureMode = Literal["automatic", "manual"]
"""Whether the PSP captures what it authorizes, or waits until it is asked to."""
Flow = Literal["direct", "hosted", "confirm_later"]
"""How the buyer pays: with a token, on the PSP's page, or only once the caller confirms."""
CAPTURE_MODES: tuple[CaptureMode, ...] = get_args(CaptureMode)
FLOWS: tuple[Flow, ...] = get_args(Flow)

MAX_URL_LENGTH = 4_096
MAX_CALLER_LENGTH = 255
MAX_METADATA_ENTRIES = 20
MAX_METADATA_NAME_LENGTH = 40
MAX_METADATA_VALUE_LENGTH = 500


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
    psp: str | None = None
    method: str | None = None


class Details(_Strict):
    """Details that every event may have."""

    asked: Asked | None = None


class CreatedDetails(Details):
    """What the caller asked for beyond money; only on the first row of a payment.

    `caller` (the token's subject) and `caller_key` (the key as the caller gave it) say whose
    request the payment answers. `payment_token` stands for the buyer's means of payment at the PSP.
    """

    capture: CaptureMode | None = None
    flow: Flow | None = None
    payment_token: str | None = None
    return_url: str | None = None
    device_fingerprint: str | None = None
    metadata: dict[str, str] | None = None
    caller: str | None = None
    caller_key: str | None = None


class AttemptedDetails(Details):
    """`attempt` is its number, from 2; `created` is the first.

    `evidence`: why the attempt before it certainly has no charge, such as `not_sent`.
    """

    attempt: int | None = None
    payment_token: str | None = None
    evidence: str | None = None


class ActionDetails(Details):
    """`url`: where the buyer acts."""

    url: str | None = None


class CaptureRequestedDetails(Details):
    """`final`: nothing more of the payment is to be captured; what is left is released."""

    final: Literal[True] | None = None


class ReasonDetails(Details):
    """`reason`: the provider's code, such as `card_declined`; never free text about a person."""

    reason: str | None = None


class RefundDetails(Details):
    """`refund_id` links a refund's request to its outcome; absent if the refund was not requested.

    The same id on the same payment is the same refund.
    """

    refund_id: str | None = None


class RefundRequestedDetails(RefundDetails, ReasonDetails):
    """A refund that is to be made; `reason` is the caller's code."""


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

"""Problems: how the API says no, as RFC 9457 `application/problem+json`. Pure.

`PROBLEMS` is the closed list of codes with their statuses; docs/reference/problems.md and the
OpenAPI document are made from it. A refusal of the writer keeps its code: `REJECTIONS` gives each
the status that it has over HTTP.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
from starlette.exceptions import HTTPException

from schemas.errors import Rejection
from schemas.money import format_minor
from schemas.rejections import RejectionCode

MEDIA_TYPE = "application/problem+json"
TYPE_PAGE = "/docs/problems"
"""The page that explains the codes; a problem's `type` is a reference into it."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What all problems of one code have in common."""

    status: int
    title: str
    remedy: str
    """What a client does about it, for the documentation."""


_OWN: Mapping[str, ProblemType] = {
    "invalid_json": ProblemType(400, "The body is not valid JSON", "Send one JSON object."),
    "invalid_encoding": ProblemType(400, "The body is not UTF-8", "Encode the body as UTF-8."),
    "duplicate_key": ProblemType(
        400,
        "A JSON object names a key twice",
        "Name each key once; readers differ in which one counts.",
    ),
    "invalid_http": ProblemType(400, "The request is not valid HTTP", "Correct the client."),
    "request_id_malformed": ProblemType(
        400,
        "X-Request-Id is malformed",
        "Send 1 to 128 printable ASCII characters without spaces, or no header.",
    ),
    "idempotency_key_missing": ProblemType(
        400, "Idempotency-Key is missing", "Send a key that is new for each thing that you want."
    ),
    "idempotency_key_malformed": ProblemType(
        400, "Idempotency-Key is malformed", "Send 1 to 255 printable ASCII characters."
    ),
    "signature_invalid": ProblemType(
        400, "The webhook's signature is wrong", "Check the secret of the webhook's endpoint."
    ),
    "token_missing": ProblemType(
        401, "A token is needed", "Send `Authorization: Bearer` and a JSON Web Token."
    ),
    "token_invalid": ProblemType(
        401, "The token is not accepted", "Get a token from the issuer that this API trusts."
    ),
    "token_expired": ProblemType(401, "The token has expired", "Get a new token and repeat."),
    "payment_declined": ProblemType(
        402,
        "The payment was declined",
        "`failure.message` says what to do: most often, ask the buyer for another way to pay.",
    ),
    "forbidden": ProblemType(
        403, "The caller may not do this", "Use a token whose role may; the reference lists them."
    ),
    "not_found": ProblemType(404, "There is nothing here", "Check the path and the id."),
    "method_not_allowed": ProblemType(
        405, "The method is not allowed here", "Use a method that `Allow` names."
    ),
    "not_acceptable": ProblemType(
        406, "No answer can be given in an accepted media type", "Accept application/json."
    ),
    "request_timeout": ProblemType(
        408, "The request did not arrive in time", "Send it again, with the same key."
    ),
    "capture_failed": ProblemType(
        409, "Nothing was captured", "Read `payment`; its state or the processor does not allow it."
    ),
    "cancel_failed": ProblemType(
        409, "Nothing was cancelled", "Read `payment`; once money was taken, refund it."
    ),
    "request_in_flight": ProblemType(
        409,
        "The first request with this key is being worked on",
        "Repeat the same request after `Retry-After` seconds.",
    ),
    "body_too_large": ProblemType(413, "The body is too large", "Send at most 256 KiB."),
    "unsupported_media_type": ProblemType(
        415, "The body's media type is not supported", "Send application/json in UTF-8."
    ),
    "field_missing": ProblemType(422, "A field is missing", "Send the field that `field` names."),
    "field_unknown": ProblemType(
        422, "A field is unknown", "Leave out or correct the field that `field` names."
    ),
    "field_invalid": ProblemType(
        422, "A field's value is invalid", "Correct the field that `field` names."
    ),
    "request_invalid": ProblemType(
        422, "Several fields are wrong", "Correct each field that `errors` names."
    ),
    "rate_limited": ProblemType(
        429, "Too many requests", "Wait for `Retry-After` seconds; `RateLimit` says what is left."
    ),
    "headers_too_large": ProblemType(431, "The headers are too large", "Send at most 32 KiB."),
    "internal_error": ProblemType(
        500, "Something unexpected happened", "Repeat with the same key; report the request_id."
    ),
    "unavailable": ProblemType(
        503,
        "Not possible just now",
        "Repeat the same request with the same key after `Retry-After` seconds.",
    ),
}  # fmt: skip

_INVALID = "Correct the field that `field` names."
_STATE = "Read the payment; it is not in a state in which this can be done."
_TOO_MUCH = "Read the payment or the balance and ask for at most what is left."

REJECTIONS: Mapping[RejectionCode, ProblemType] = MappingProxyType(
    {
        RejectionCode.INVALID_IDENTIFIER: ProblemType(422, "An id is invalid", _INVALID),
        RejectionCode.INVALID_TEXT: ProblemType(422, "A text is invalid", _INVALID),
        RejectionCode.UNKNOWN_CHOICE: ProblemType(422, "A choice is unknown", _INVALID),
        RejectionCode.TOO_MUCH_METADATA: ProblemType(422, "There is too much metadata", _INVALID),
        RejectionCode.TIME_WITHOUT_ZONE: ProblemType(422, "A time has no zone", _INVALID),
        RejectionCode.TIME_OUT_OF_RANGE: ProblemType(422, "A time is out of range", _INVALID),
        RejectionCode.UNKNOWN_CURRENCY: ProblemType(422, "The currency is unknown", _INVALID),
        RejectionCode.NO_ORDERS: ProblemType(422, "There is no order to pay for", _INVALID),
        RejectionCode.TOO_MANY_ORDERS: ProblemType(
            422, "There are too many orders", "Pay for the orders by several payments."
        ),
        RejectionCode.DUPLICATE_ORDER: ProblemType(422, "An order is named twice", _INVALID),
        RejectionCode.AMOUNT_NOT_POSITIVE: ProblemType(422, "The amount is not positive", _INVALID),
        RejectionCode.AMOUNT_TOO_LARGE: ProblemType(422, "The amount is too large", _INVALID),
        RejectionCode.SHARE_NEGATIVE: ProblemType(422, "A share is negative", _INVALID),
        RejectionCode.SHARES_ABOVE_AMOUNT: ProblemType(422, "Shares exceed the amount", _INVALID),
        RejectionCode.IDEMPOTENCY_CONFLICT: ProblemType(
            422,
            "The key was used for another request",
            "Use a new key, or a new payment for another confirmation; `differing_fields` says"
            " what differs.",
        ),
        RejectionCode.UNKNOWN_PAYMENT: ProblemType(
            404,
            "There is no such payment",
            "Check the id; a payment of somebody else counts as none.",
        ),
        RejectionCode.WRONG_DIRECTION: ProblemType(
            404, "There is no such payment", "The id is that of a payout; check the id."
        ),
        RejectionCode.UNKNOWN_ORDER: ProblemType(422, "The payment has no such order", _INVALID),
        RejectionCode.UNKNOWN_REFUND: ProblemType(422, "The payment has no such refund", _INVALID),
        RejectionCode.REFUND_ALREADY_DECIDED: ProblemType(409, "The refund is decided", _STATE),
        RejectionCode.ILLEGAL_TRANSITION: ProblemType(
            409, "The payment's state does not allow this", _STATE
        ),
        RejectionCode.DISPUTE_OPEN: ProblemType(
            409, "A dispute is open", "Wait for the bank's decision."
        ),
        RejectionCode.CAPTURE_ALREADY_REQUESTED: ProblemType(
            409, "A capture is being worked on", _STATE
        ),
        RejectionCode.CANCEL_ALREADY_REQUESTED: ProblemType(
            409, "A cancellation is being worked on", _STATE
        ),
        RejectionCode.NOTHING_REQUESTED: ProblemType(409, "Nothing was requested", _STATE),
        RejectionCode.AUTHORIZATION_ABOVE_AMOUNT: ProblemType(
            422, "More than the amount", _TOO_MUCH
        ),
        RejectionCode.CAPTURE_ABOVE_AUTHORIZATION: ProblemType(
            422, "More than was authorized", _TOO_MUCH
        ),
        RejectionCode.NOTHING_LEFT: ProblemType(409, "Nothing is left", _STATE),
        RejectionCode.CAPTURE_ABOVE_AMOUNT: ProblemType(422, "More than can be taken", _TOO_MUCH),
        RejectionCode.RELEASE_ABOVE_PENDING: ProblemType(422, "More than is pending", _TOO_MUCH),
        RejectionCode.REFUND_ABOVE_CAPTURED: ProblemType(
            422, "More than was taken and not given back", _TOO_MUCH
        ),
        RejectionCode.AMOUNT_DIFFERS: ProblemType(422, "The amount differs", _INVALID),
        RejectionCode.PAYOUT_ABOVE_BALANCE: ProblemType(
            422, "More than the seller has available", _TOO_MUCH
        ),
        RejectionCode.REFUSED_BY_DATABASE: ProblemType(
            409, "Another request was faster", "Read the payment, then decide again."
        ),
    }
)  # fmt: skip
"""Every refusal of the writer, with its status over HTTP."""

PROBLEMS: Mapping[str, ProblemType] = MappingProxyType(
    {**_OWN, **{code.value: kind for code, kind in REJECTIONS.items()}}
)
"""The closed list: every code that an answer can have."""


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True, rename={"where": "in"}):
    """One thing that is wrong with one field of the request."""

    field: str
    """JSON pointer into the body; the name after a slash for a parameter."""
    code: str
    detail: str
    where: str = "body"
    """body, query, path or header."""


class Problem(HTTPException):
    """A problem on its way to the client; raised anywhere below the routes.

    `more` are members of the body beside the standard ones; `headers` go with the answer. It is an
    HTTPException because FastAPI lets only those pass while it reads a body.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        errors: Sequence[FieldError] = (),
        more: Mapping[str, object] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(PROBLEMS[code].status, detail, dict(headers))
        self.code = code
        self.field = field
        self.errors = errors
        self.more = more

    def body(self, request_id: str) -> bytes:
        """The JSON of the answer."""
        kind = PROBLEMS[self.code]
        members: dict[str, object] = {
            "type": f"{TYPE_PAGE}#{self.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.field is not None:
            members["field"] = self.field
        if self.errors:
            members["errors"] = self.errors
        members |= self.more
        members["request_id"] = request_id
        return msgspec.json.encode(members)


NO_SUCH_PAYMENT = "there is no payment of yours with this id; check the id"


def no_such_payment() -> Problem:
    """The same answer for a payment that does not exist and for one that is somebody else's."""
    return Problem(RejectionCode.UNKNOWN_PAYMENT, NO_SUCH_PAYMENT)


def unavailable(detail: str, retry_seconds: int = 1) -> Problem:
    """Something that the request needs does not answer; nothing is known to be wrong with it."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_seconds)})


def defect() -> Problem:
    """A defect of ours, of which a client is told nothing more."""
    return Problem("internal_error", "a defect of Purser; repeat with the same key, or report it")


def in_flight(retry_seconds: int = 1) -> Problem:
    """The first request with this key has no answer yet."""
    return Problem(
        "request_in_flight",
        "the first request with this Idempotency-Key is still being worked on; repeat the same"
        " request to get its answer",
        headers={"Retry-After": str(retry_seconds)},
    )


_NOT_IN_BODY = frozenset(
    {"command", "payment_id", "idempotency_key", "occurred_at", "psp", "psp_reference"}
)
"""Fields of commands that no request body has."""


def json_pointer(path: Sequence[object]) -> str:
    """RFC 6901: the tokens, escaped, each after a slash; empty for the whole body."""
    return "".join(f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in path)


def pointer(name: str) -> str:
    """A field as the writer names it, as a JSON pointer: `orders[0].order_id` -> RFC 6901."""
    head, _, rest = name.partition(".")
    if head == "metadata":  # the caller's names may have dots and brackets in them
        return json_pointer([head, rest] if rest else [head])
    if head.startswith("metadata["):  # a name is wrong, and nothing is below a name
        return json_pointer(["metadata"])
    return json_pointer(name.replace("[", ".").replace("]", "").split("."))


_IN_WORDS: Mapping[str, tuple[str, str]] = {
    "attempted": ("a charge", "charged"),
    "capture_requested": ("a capture", "captured"),
    "cancel_requested": ("a cancellation", "cancelled"),
    "refund_requested": ("a refund", "refunded"),
    "shipped": ("shipping", "shipped"),
    "delivered": ("delivery", "delivered"),
}
"""Event of a request -> what a client calls it, and what becomes of the money by it."""
_ILLEGAL = re.compile(r"(\w+) cannot happen to (.+?), which is (.+); possible: .*")
"""How the writer refuses a transition; what else its table allows is no client's business."""
_COULD_BE = re.compile(r"((?:can|could) be )(\w+)")
_MINOR = re.compile(r"\b(is|has|least|most|than) (-?\d+)\b")
"""An amount in the text of a refusal. No id is taken for one: ids have no spaces."""


def _in_major_units(text: str, currency: str) -> str:
    def written(found: re.Match[str]) -> str:
        amount, _, _ = format_minor(int(found[2]), currency).partition(" ")
        return f"{found[1]} {amount.replace(',', '')}"

    return _MINOR.sub(written, text)


def _detail(rejection: Rejection, name: str, currency: str | None) -> str:
    """What is wrong and what to do, in the words of the API."""
    if rejection.code in (RejectionCode.UNKNOWN_PAYMENT, RejectionCode.WRONG_DIRECTION):
        return NO_SUCH_PAYMENT
    text = rejection.problem
    if found := _ILLEGAL.fullmatch(text):
        event, what, state = found.groups()
        noun, _ = _IN_WORDS.get(event, (event, event))
        return f"{noun} is not possible: {what} is {state}; read the payment and decide again"
    text = _COULD_BE.sub(lambda found: found[1] + _IN_WORDS.get(found[2], ("", found[2]))[1], text)
    if name not in _NOT_IN_BODY:
        if name == "amount" and currency is not None:
            text = _in_major_units(text, currency)
        text = f"{name}: {text}"
    if ";" in text:
        return text
    remedy = PROBLEMS[rejection.code].remedy.rstrip(".")
    return f"{text}; {remedy[0].lower()}{remedy[1:]}"


def of_rejection(
    rejection: Rejection,
    differing_fields: Sequence[str] = (),
    names: Mapping[str, str] = MappingProxyType({}),
    currency: str | None = None,
) -> Problem:
    """The problem of a refusal, which keeps its code.

    `differing_fields` are those of a conflict. `names` has the body's names of fields that the
    writer calls otherwise. `currency` is that of a body's `amount` in major units.
    """
    more: dict[str, object] = {}
    if differing_fields:
        # The older names have one field for several of ours.
        found = dict.fromkeys(pointer(names.get(each, each)) for each in differing_fields)
        more["differing_fields"] = list(found)
    name = names.get(rejection.field, rejection.field)
    return Problem(
        rejection.code,
        _detail(rejection, name, currency),
        field=None if name in _NOT_IN_BODY else pointer(name),
        more=more,
    )

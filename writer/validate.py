"""Checks of a command by itself, before any state is read; pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from schemas.details import (
    CAPTURE_MODES,
    FLOWS,
    MAX_CALLER_LENGTH,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_NAME_LENGTH,
    MAX_METADATA_VALUE_LENGTH,
    MAX_URL_LENGTH,
)
from schemas.errors import InputError, Rejection
from schemas.events import EARLIEST, LATEST
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH, MAX_NAME_LENGTH, check_id
from schemas.money import MAX_AMOUNT_MINOR, check_currency
from schemas.rejections import RejectionCode
from writer.commands import (
    AmountChange,
    AnyCommand,
    Change,
    CreatePayment,
    OrderChange,
    OrderLine,
    RequestPayout,
)

MAX_ORDERS_PER_PAYMENT = 1_000
"""The rows of one command then fit into one INSERT (65,535 parameters) with room to spare."""


def validate(command: AnyCommand) -> None:
    """Reject a command that is invalid in every state.

    Raises:
        Rejection: the first rule broken, in the order of `RejectionCode`.
    """
    _check_id("idempotency_key", command.idempotency_key, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
    if command.psp_reference is not None:
        _check_id("psp_reference", command.psp_reference, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
    if isinstance(command, CreatePayment):
        _check_id("buyer_id", command.buyer_id)
        _check_name("psp", command.psp)
        _check_name("method", command.method)
        for index, line in enumerate(command.orders):
            _check_id(f"orders[{index}].order_id", line.order_id)
            _check_id(f"orders[{index}].seller_id", line.seller_id)
        _check_wishes(command)
        _check_time(command.occurred_at)
        _check_currency(command.currency, command.occurred_at)
        _check_orders(command.orders)
    elif isinstance(command, RequestPayout):
        _check_id("seller_id", command.seller_id)
        _check_name("psp", command.psp)
        _check_name("method", command.method)
        _check_time(command.occurred_at)
        _check_currency(command.currency, command.occurred_at)
        check_amount("amount_minor", command.amount_minor)
    else:
        _check_change(command)


def _check_change(command: Change) -> None:
    if isinstance(command, OrderChange) and command.order_id is not None:
        _check_id("order_id", command.order_id)
    for name in ("refund_id", "reason", "evidence"):
        if (value := getattr(command, name, None)) is not None:
            _check_id(name, value)
    for name in ("psp", "method"):
        if (value := getattr(command, name, None)) is not None:
            _check_name(name, value)
    _check_token_and_url(command, "url")
    _check_time(command.occurred_at)
    if isinstance(command, AmountChange) and command.amount_minor is not None:
        check_amount("amount_minor", command.amount_minor)


def _check_wishes(command: CreatePayment) -> None:
    """Check what the caller of a payment asks for beyond money."""
    _check_token_and_url(command, "return_url")
    if command.device_fingerprint is not None:
        _check_id("device_fingerprint", command.device_fingerprint)
    for name in ("caller", "caller_key"):
        _check_text(name, getattr(command, name), MAX_CALLER_LENGTH)
    _check_choice("capture", command.capture, CAPTURE_MODES)
    _check_choice("flow", command.flow, FLOWS)
    _check_metadata(command.metadata or {})


def _check_token_and_url(command: AnyCommand, url_name: str) -> None:
    if (token := getattr(command, "payment_token", None)) is not None:
        _check_id("payment_token", token, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
    if (url := getattr(command, url_name, None)) is not None:
        _check_id(url_name, url, max_length=MAX_URL_LENGTH)


def _check_choice(field: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise refusal(
            RejectionCode.UNKNOWN_CHOICE,
            field,
            f"is {value[:20]!r}; give {', '.join(choices[:-1])} or {choices[-1]}",
        )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_METADATA_ENTRIES:
        raise refusal(
            RejectionCode.TOO_MUCH_METADATA,
            "metadata",
            f"has {len(metadata)} entries; at most {MAX_METADATA_ENTRIES} are allowed",
        )
    for index, (name, value) in enumerate(metadata.items()):
        _check_text(f"metadata[{index}]", name, MAX_METADATA_NAME_LENGTH, least=1)
        _check_text(f"metadata.{name}", value, MAX_METADATA_VALUE_LENGTH)


def _check_text(field: str, value: str | None, max_length: int, *, least: int = 0) -> None:
    """Check a text that may have spaces and letters of any language, but nothing invisible."""
    if value is None:
        return
    problem = ""
    if not isinstance(value, str):
        problem = f"is a {type(value).__name__}; give a text"
    elif not least <= len(value) <= max_length:
        problem = f"has {len(value)} characters; give {least} to {max_length}"
    elif not value.isprintable():
        bad = next(place for place, char in enumerate(value) if not char.isprintable())
        problem = f"has U+{ord(value[bad]):04X} at position {bad + 1}; give printable characters"
    if problem:
        raise refusal(RejectionCode.INVALID_TEXT, field, problem)


def _check_id(field: str, value: str, *, max_length: int = MAX_ID_LENGTH) -> None:
    try:
        check_id(field, value, max_length=max_length)
    except InputError as error:
        raise refusal(RejectionCode.INVALID_IDENTIFIER, error.field, error.problem) from None


def _check_name(field: str, value: str) -> None:
    """Check the name of a PSP or a method: an id that we choose, and therefore shorter."""
    _check_id(field, value, max_length=MAX_NAME_LENGTH)


def _check_time(occurred_at: datetime) -> None:
    if occurred_at.utcoffset() is None:
        raise refusal(
            RejectionCode.TIME_WITHOUT_ZONE,
            "occurred_at",
            "has no time zone; give an aware time, best in UTC",
        )
    if not EARLIEST <= occurred_at < LATEST:
        raise refusal(
            RejectionCode.TIME_OUT_OF_RANGE,
            "occurred_at",
            f"{occurred_at.isoformat()} is not from {EARLIEST.year} to {LATEST.year - 1}",
        )


def _check_currency(currency: str, begins_at: datetime) -> None:
    try:
        check_currency(currency, begins_at)
    except InputError as error:
        raise refusal(RejectionCode.UNKNOWN_CURRENCY, error.field, error.problem) from None


def _check_orders(orders: Sequence[OrderLine]) -> None:
    if not orders:
        raise refusal(RejectionCode.NO_ORDERS, "orders", "is empty; a payment pays for an order")
    if len(orders) > MAX_ORDERS_PER_PAYMENT:
        raise refusal(
            RejectionCode.TOO_MANY_ORDERS,
            "orders",
            f"has {len(orders)} orders; at most {MAX_ORDERS_PER_PAYMENT} are allowed",
        )
    first_at: dict[str, int] = {}
    for index, line in enumerate(orders):
        if (first := first_at.setdefault(line.order_id, index)) != index:
            raise refusal(
                RejectionCode.DUPLICATE_ORDER,
                f"orders[{index}].order_id",
                f"{line.order_id} is orders[{first}] already; name each order once",
            )
    for index, line in enumerate(orders):
        check_amount(f"orders[{index}].amount_minor", line.amount_minor)
        _check_shares(index, line)
    if sum(line.amount_minor for line in orders) > MAX_AMOUNT_MINOR:
        raise refusal(
            RejectionCode.AMOUNT_TOO_LARGE, "orders", f"sum to more than {MAX_AMOUNT_MINOR}"
        )


def check_amount(field: str, amount_minor: int) -> None:
    """Reject an amount that is not 1 to `MAX_AMOUNT_MINOR` minor units."""
    assert type(amount_minor) is int, f"{field}: a float or bool never touches money"
    if amount_minor < 1:
        raise refusal(
            RejectionCode.AMOUNT_NOT_POSITIVE, field, f"is {amount_minor}; give at least 1"
        )
    if amount_minor > MAX_AMOUNT_MINOR:
        shown = str(amount_minor) if amount_minor < 10**30 else "a number of over 30 digits"
        raise refusal(
            RejectionCode.AMOUNT_TOO_LARGE, field, f"is {shown}; at most {MAX_AMOUNT_MINOR}"
        )


def _check_shares(index: int, line: OrderLine) -> None:
    for name in ("commission_minor", "logistics_fee_minor"):
        share = getattr(line, name)
        assert type(share) is int, f"{name}: a float or bool never touches money"
        if share < 0:
            raise refusal(
                RejectionCode.SHARE_NEGATIVE,
                f"orders[{index}].{name}",
                f"is {share}; give 0 or more",
            )
    if line.commission_minor + line.logistics_fee_minor > line.amount_minor:
        raise refusal(
            RejectionCode.SHARES_ABOVE_AMOUNT,
            f"orders[{index}].commission_minor",
            "and logistics_fee_minor together exceed "
            f"amount_minor ({line.amount_minor}); they are parts of it",
        )


def refusal(code: RejectionCode, field: str, problem: str) -> Rejection:
    """Return a rejection with a code from the closed list."""
    return Rejection(code=code, field=field, problem=problem)

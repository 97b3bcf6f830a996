"""The decision: a pure function of state and command that returns rows to append or a rejection.

`HANDLERS` lists the commands. Checks run in the order of `schemas.rejections`: the command alone,
its idempotency key, what it refers to, the lifecycle, money. No clock, no socket, no database.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.effects import INSTEAD_OF
from schemas.errors import Rejection
from schemas.events import NewEvent
from schemas.lifecycle import FIRST_EVENT, Direction
from schemas.rejections import RejectionCode
from writer import commands, disputes, intents, payins, payouts, suspense
from writer.commands import AnyCommand, Change, OrderChange
from writer.requests import differing_fields
from writer.state import PaymentState
from writer.validate import refusal, validate

_MAX_FIELDS_NAMED = 5


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The key was already used for the same request; `events` were appended then."""

    events: tuple[NewEvent, ...]


Decision = tuple[NewEvent, ...] | AlreadyDone | Rejection

Handler = Callable[[PaymentState, Any], tuple[NewEvent, ...]]

HANDLERS: Mapping[type[Change], Handler] = {
    commands.Attempt: intents.attempt,
    commands.RequireAction: payins.change_state,
    commands.MarkProcessing: payins.change_state,
    commands.MarkUnknown: payins.change_state,
    commands.Authorize: payins.authorize,
    commands.RequestCapture: intents.request_capture,
    commands.FailCapture: intents.fail_capture,
    commands.RequestCancel: intents.request_cancel,
    commands.FailCancel: intents.fail_cancel,
    commands.Fail: payins.change_state,
    commands.Cancel: payins.change_state,
    commands.Expire: payins.change_state,
    commands.Capture: payins.capture,
    commands.Honour: suspense.honour,
    commands.Ship: payins.change_state,
    commands.Deliver: payins.change_state,
    commands.Release: payins.release,
    commands.RequestRefund: payins.request_refund,
    commands.RecordRefund: payins.record_refund,
    commands.FailRefund: payins.fail_refund,
    commands.ReturnRefund: suspense.return_refund,
    commands.OpenDispute: disputes.open_dispute,
    commands.WinDispute: disputes.win_dispute,
    commands.LoseDispute: disputes.lose_dispute,
    commands.SubmitPayout: payouts.change_payout,
    commands.MarkPayoutPaid: payouts.change_payout,
    commands.FailPayout: payouts.change_payout,
    commands.ReturnPayout: payouts.change_payout,
    commands.CancelPayout: payouts.change_payout,
}
"""Command about an existing payment or payout -> handler, which raises `Rejection` or returns rows.
"""


def decide(
    state: PaymentState | None, command: AnyCommand, *, available_minor: int | None = None
) -> Decision:
    """Decide `command` for the payment or payout in `state` (None: it does not exist yet).

    `available_minor` is the seller's available balance as last read, and is needed only for
    `RequestPayout`; the database checks it again under a lock. A `Rejection` is returned, not
    raised.
    """
    try:
        validate(command)
        if state is not None and command.idempotency_key in state.answers:
            return _known_key(command, state.answers[command.idempotency_key])
        rows = _rows(state, command, available_minor)
    except Rejection as rejection:
        return rejection
    _assert_rows(state, command, rows)
    return rows


def _known_key(command: AnyCommand, rows: Sequence[NewEvent]) -> AlreadyDone:
    if not (differing := differing_fields(command, rows)):
        return AlreadyDone(tuple(rows))
    names = ", ".join(differing[:_MAX_FIELDS_NAMED])
    if len(differing) > _MAX_FIELDS_NAMED:
        names += f" and {len(differing) - _MAX_FIELDS_NAMED} more"
    raise refusal(
        RejectionCode.IDEMPOTENCY_CONFLICT,
        "idempotency_key",
        f"{command.idempotency_key} was used for another request, which differs in {names}; "
        "use a new key for a new request",
    )


def _rows(
    state: PaymentState | None, command: AnyCommand, available_minor: int | None
) -> tuple[NewEvent, ...]:
    if isinstance(command, commands.CreatePayment):
        # The id is derived from the key, so a state without that key cannot belong to this payment.
        assert state is None, command.payment_id
        return payins.create(command)
    if isinstance(command, commands.RequestPayout):
        assert state is None, command.payment_id
        assert available_minor is not None, "read the seller's balance first"
        return payouts.request_payout(command, available_minor)
    if state is None:
        raise refusal(
            RejectionCode.UNKNOWN_PAYMENT,
            "payment_id",
            f"there is no payment or payout {command.payment_id}; create it first",
        )
    assert state.payment_id == command.payment_id, (state.payment_id, command.payment_id)
    if state.direction is not command.direction:
        kind = "payment" if state.direction is Direction.IN else "payout"
        raise refusal(
            RejectionCode.WRONG_DIRECTION,
            "command",
            f"{command.event_type} is not for {command.payment_id}, which is a {kind}",
        )
    if isinstance(command, OrderChange):
        _refuse_other_attempt(state, command)
    return HANDLERS[type(command)](state, command)


def _refuse_other_attempt(state: PaymentState, command: OrderChange) -> None:
    latest = state.attempts[-1].number
    if command.of_attempt not in (None, latest):
        raise refusal(
            RejectionCode.ILLEGAL_TRANSITION,
            "of_attempt",
            f"is {command.of_attempt}, but attempt {latest} has begun; look at that one",
        )


def _assert_rows(
    state: PaymentState | None, command: AnyCommand, rows: tuple[NewEvent, ...]
) -> None:
    """Assert what must hold for all rows before they are appended, whatever the command."""
    last_seq = state.last_seq if state else 0
    payment_id = command.payment_id
    assert rows, command
    for number, row in enumerate(rows, start=last_seq + 1):
        assert row.seq == number, (command, row)
        assert row.payment_id == payment_id, (command, row)
        assert row.idempotency_key == command.idempotency_key, (command, row)
        asked_for = INSTEAD_OF.get(row.event_type)
        assert command.event_type in (row.event_type, asked_for), (command, row)
        assert row.amount_minor >= 0, (command, row)
    is_creation = command.event_type == FIRST_EVENT[command.direction]
    assert is_creation == (state is None), command

"""Handlers of the older names: the same rules and the same bodies under the paths of before.

Their amounts are decimal text in major units, and the Idempotency-Key may be left out: `init` takes
it from its body or issues one, `confirm` is idempotent by `tx_id`, and `schedule` by what it asks
for in the same minute.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from payins.answers import Answered, InFlight
from schemas.errors import Rejection
from schemas.ids import caller_key, payment_id
from service import answers
from service.amounts import minor_of
from service.bodies import METHODS, ConfirmInitBody, InitBody, SchedulePayoutBody
from service.gate import KeyRule, idempotency_key, internal_key
from service.parts import (
    caller_of,
    check_reach,
    facts_of,
    field_problem,
    parts_of,
    payment_id_of,
)
from service.payments import confirmed, conflict_named
from service.permissions import Operation, check_owner
from service.problems import in_flight
from writer.append import Appended
from writer.commands import CreatePayment, OrderLine, RequestPayout

_INIT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "buyer_id": "user_id",
        "orders[0].seller_id": "merchant_id",
        "orders[0].amount_minor": "amount",
        "orders": "amount",
        "payment_token": "card_token",
    }
)
_CONFIRM_NAMES: Mapping[str, str] = MappingProxyType(
    {"method": "payment_method", "payment_token": "payment_method"}
)
_PAYOUT_NAMES: Mapping[str, str] = MappingProxyType(
    {"seller_id": "merchant_id", "amount_minor": "amount"}
)
PAYOUT_PROVIDER, PAYOUT_METHOD = "tipalti", "bank_transfer"


async def init_payment(request: Request, body: InitBody) -> Response:
    """Create a payment that is confirmed later; nothing is charged yet."""
    caller, facts, parts = caller_of(request), facts_of(request), parts_of(request)
    check_owner(Operation.INIT_PAYMENT, caller, body.user_id, "user_id")
    given = facts.idempotency_key
    if body.idempotency_key is not None:
        idempotency_key([body.idempotency_key], KeyRule.REQUIRED)
    if given is not None and body.idempotency_key not in (None, given):
        raise field_problem("field_invalid", "idempotency_key", "differs from the header's")
    key = given or body.idempotency_key or str(uuid4())
    internal = internal_key(caller.subject, key, Operation.INIT_PAYMENT, {})
    order = OrderLine(
        # A payment under the older names is its own only order.
        order_id=str(payment_id("payment", internal)),
        seller_id=body.merchant_id,
        amount_minor=minor_of(body.amount, body.currency),
    )
    command = CreatePayment(
        idempotency_key=internal,
        occurred_at=datetime.now(UTC),
        buyer_id=body.user_id,
        currency=body.currency,
        psp=parts.payins.processors.first,
        method="card",
        orders=(order,),
        capture="automatic",
        flow="confirm_later",
        payment_token=body.card_token,
        caller=caller.subject,
        caller_key=key,
    )
    result = await parts.payins.create(command)
    match result:
        case Rejection():
            raise await conflict_named(request, command, result, _INIT_NAMES)
        case InFlight():
            raise in_flight()
        case Answered(replayed=replayed):
            tx_id = str(command.payment_id)
            content = {"tx_id": tx_id, "idempotency_key": key, "status": "created"}
            headers = answers.location(tx_id)
            return answers.keyed_json(content, 201, replayed=replayed, headers=headers)


async def confirm_init(request: Request, body: ConfirmInitBody) -> Response:
    """Charge a payment of `init`, once, whatever the key."""
    found = payment_id_of(body.tx_id)
    await check_reach(request, Operation.CONFIRM_INIT, found)
    is_method = body.payment_method in METHODS
    return await confirmed(
        request,
        found,
        body.payment_method if is_method else None,
        None if is_method else body.payment_method,
        names=_CONFIRM_NAMES,
        more={"tx_id": body.tx_id},
    )


async def schedule_payout(request: Request, body: SchedulePayoutBody) -> Response:
    """Ask for a payout to a seller; its amount leaves the available balance at once."""
    caller, facts = caller_of(request), facts_of(request)
    amount_minor = minor_of(body.amount, body.currency)
    now = datetime.now(UTC)
    key = facts.internal_key or caller_key(
        caller.subject,
        f"{now:%Y-%m-%dT%H:%M}",
        "payout_of_minute",
        body.merchant_id,
        body.currency,
        str(amount_minor),
    )
    command = RequestPayout(
        idempotency_key=key,
        occurred_at=now,
        seller_id=body.merchant_id,
        currency=body.currency,
        amount_minor=amount_minor,
        psp=PAYOUT_PROVIDER,
        method=PAYOUT_METHOD,
    )
    answer = await parts_of(request).writer.handle(command)
    if isinstance(answer, Rejection):
        raise await conflict_named(request, command, answer, _PAYOUT_NAMES)
    assert isinstance(answer, Appended)
    content = {"payout_id": str(command.payment_id), "status": answer.events[-1].status}
    return answers.keyed_json(content, 201, replayed=answer.already_done)

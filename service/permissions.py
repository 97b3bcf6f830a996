"""Who may do what: one table, operation by operation. Pure.

`ALL` reaches everybody's things, `OWN` only those of the token's subject; a role that is missing
may not call the operation. Somebody else's payment is answered with 404, because that it exists is
a secret; a buyer, a seller or a user whom the path names is answered with 403.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from schemas.lifecycle import Direction
from service.problems import Problem
from service.roles import Caller, Role


class Reach(StrEnum):
    """Whose things a role reaches."""

    OWN = "own"
    ALL = "all"


class Operation(StrEnum):
    """Every operation that needs a token; its name is the operationId of OpenAPI."""

    CREATE_PAYMENT = "create_payment"
    GET_PAYMENT = "get_payment"
    LIST_PAYMENTS = "list_payments"
    CONFIRM_PAYMENT = "confirm_payment"
    CAPTURE_PAYMENT = "capture_payment"
    CANCEL_PAYMENT = "cancel_payment"
    SHIP_ORDERS = "ship_orders"
    DELIVER_ORDERS = "deliver_orders"
    REFUND_PAYMENT = "refund_payment"
    ISSUE_IDEMPOTENCY_KEY = "issue_idempotency_key"
    BUYER_ORDERS = "buyer_orders"
    SELLER_REVENUE = "seller_revenue"
    SELLER_BALANCE = "seller_balance"
    SELLER_STATEMENT = "seller_statement"
    INIT_PAYMENT = "init_payment"
    CONFIRM_INIT = "confirm_init"
    SCHEDULE_PAYOUT = "schedule_payout"
    USER_TRANSACTIONS = "user_transactions"


_ALL, _OWN = Reach.ALL, Reach.OWN
_SHOP = {Role.SERVICE: _ALL, Role.ADMIN: _ALL}
_PAYER = {**_SHOP, Role.BUYER: _OWN}
_FIGURES = {**_SHOP, Role.FINANCE: _ALL}

ALLOWED: Mapping[Operation, Mapping[Role, Reach]] = MappingProxyType(
    {
        Operation.CREATE_PAYMENT: _PAYER,
        Operation.GET_PAYMENT: {**_PAYER, Role.FINANCE: _ALL},
        Operation.LIST_PAYMENTS: {**_PAYER, Role.FINANCE: _ALL},
        Operation.CONFIRM_PAYMENT: _PAYER,
        # What was promised to the shop, such as an authorization, is not a buyer's to take back.
        Operation.CAPTURE_PAYMENT: _SHOP,
        Operation.CANCEL_PAYMENT: _SHOP,
        Operation.SHIP_ORDERS: _SHOP,
        Operation.DELIVER_ORDERS: _SHOP,
        Operation.REFUND_PAYMENT: _SHOP,
        Operation.ISSUE_IDEMPOTENCY_KEY: dict.fromkeys(Role, _ALL),
        Operation.BUYER_ORDERS: {**_FIGURES, Role.BUYER: _OWN},
        Operation.SELLER_REVENUE: {**_FIGURES, Role.SELLER: _OWN},
        Operation.SELLER_BALANCE: {**_FIGURES, Role.SELLER: _OWN},
        Operation.SELLER_STATEMENT: {**_FIGURES, Role.SELLER: _OWN},
        Operation.INIT_PAYMENT: _PAYER,
        Operation.CONFIRM_INIT: _PAYER,
        # Money leaves: the shop's backend may not.
        Operation.SCHEDULE_PAYOUT: {Role.FINANCE: _ALL, Role.ADMIN: _ALL},
        Operation.USER_TRANSACTIONS: {**_FIGURES, Role.BUYER: _OWN, Role.SELLER: _OWN},
    }
)
"""Operation -> role -> whose things it reaches."""


def reach(operation: Operation, caller: Caller) -> Reach:
    """The furthest reach that one of the caller's roles has.

    Raises:
        Problem: 403, none of its roles may call the operation.
    """
    allowed = ALLOWED[operation]
    found = {allowed[role] for role in caller.roles if role in allowed}
    if not found:
        needed = ", ".join(sorted(allowed))
        raise Problem("forbidden", f"the token's scope needs one of these roles: {needed}")
    return Reach.ALL if Reach.ALL in found else Reach.OWN


_PARTY = {Role.BUYER: Direction.IN, Role.SELLER: Direction.OUT}
"""Role -> the direction of money whose party it is."""


def directions(operation: Operation, caller: Caller) -> frozenset[Direction]:
    """The directions of money of a user that the caller may see.

    Buyers and sellers have ids of their own, so a buyer and a seller of the same id are two people:
    a buyer sees what it paid, a seller what was paid out to it.
    """
    if reach(operation, caller) is Reach.ALL:
        return frozenset(Direction)
    return frozenset(_PARTY[role] for role in caller.roles if role in _PARTY)


def is_hidden(operation: Operation, caller: Caller, owner: str | None) -> bool:
    """Whether a thing of `owner` is somebody else's and out of the caller's reach."""
    return reach(operation, caller) is Reach.OWN and owner != caller.subject


def check_owner(operation: Operation, caller: Caller, owner: str, what: str) -> None:
    """Refuse what the request names as somebody else's.

    Raises:
        Problem: 403.
    """
    if is_hidden(operation, caller, owner):
        raise Problem("forbidden", f"{what} is not the subject of the token; ask for your own")

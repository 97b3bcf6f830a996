"""Who calls: the roles of a token's scope, and the caller that a verified token names. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller may be; a token's `scope` names one or several, separated by spaces."""

    BUYER = "buyer"
    """Sees and pays its own payments; the token's `sub` is the buyer_id."""
    SELLER = "seller"
    """Sees its own figures; the token's `sub` is the seller_id."""
    SERVICE = "service"
    """The shop's backend: everything about payments."""
    FINANCE = "finance"
    """Payouts, reconciliation and all figures."""
    ADMIN = "admin"


ROLES = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever a verified token speaks for. `subject` is an opaque id, and the scope of its keys."""

    subject: str
    roles: frozenset[Role]
    expires_at: float
    """Seconds since 1970; the token is worth nothing from then on."""

"""What an object shows now, and what it shows only when it is asked for (`expand[]`)."""

from typing import Any

from simulators.stripe import charges, sessions, transactions
from simulators.stripe.account import Account
from simulators.stripe.expand import Expansion
from simulators.stripe.kinds import CHARGE, SESSION, TRANSACTION, Kind
from simulators.stripe.store import Body


def expansion(account: Account) -> Expansion:
    """Expands paths in answers of an account."""

    def rendered(kind: Kind, body: Body) -> Body:
        return transactions.shown(account, body) if kind is TRANSACTION else body

    def extra(body: Body, name: str) -> Any:
        if body["object"] == CHARGE.name and name == "refunds":
            return charges.refunds_of(account, body["id"])
        if body["object"] == SESSION.name and name == "line_items":
            return sessions.line_items_of(account, body["id"])
        return None

    return Expansion(account.store, rendered, extra)

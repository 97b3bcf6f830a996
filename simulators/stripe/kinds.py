"""The kinds of objects that Stripe keeps, as data: ids, paths, and what can be asked for. Pure.

`filters` are columns beside the body: values of the body by which a list can be narrowed. `hidden`
are columns of our own that no answer shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object and its table."""

    name: str
    prefix: str
    path: str
    filters: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    param: str = "id"
    """The name of the id in an error about the path."""
    own_ids: bool = False
    """Some ids are not made by `Store.new_id`; there are few such objects."""

    @property
    def table(self) -> str:
        """The name of its table."""
        return self.name.replace(".", "_") + "s"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns beside number, id, created and body."""
        return (*self.filters, *self.hidden)


INTENT = Kind(
    name="payment_intent",
    prefix="pi_3",
    path="/v1/payment_intents",
    filters=("customer", "status", "currency", "amount"),
    indexes=(("customer",),),
    param="intent",
)
CHARGE = Kind(
    name="charge",
    prefix="ch_3",
    path="/v1/charges",
    filters=(
        "payment_intent", "customer", "currency", "status", "amount_captured", "amount_refunded",
    ),
    indexes=(("payment_intent",), ("customer",)),
    param="charge",
)  # fmt: skip
REFUND = Kind(
    name="refund",
    prefix="re_3",
    path="/v1/refunds",
    filters=("charge", "payment_intent", "currency", "status", "amount"),
    indexes=(("charge",), ("payment_intent",)),
    param="refund",
)
DISPUTE = Kind(
    name="dispute",
    prefix="dp_1",
    path="/v1/disputes",
    filters=("charge", "payment_intent", "currency", "status", "amount"),
    hidden=("withdrawn",),
    indexes=(("charge",), ("payment_intent",)),
    param="dispute",
)
TRANSACTION = Kind(
    name="balance_transaction",
    prefix="txn_3",
    path="/v1/balance_transactions",
    filters=("source", "type", "currency", "amount", "fee", "net", "available_on"),
    hidden=("settle_day",),
    indexes=(("source",), ("currency", "settle_day")),
)
PAYOUT = Kind(
    name="payout",
    prefix="po_1",
    path="/v1/payouts",
    filters=("status", "currency", "amount", "arrival_date"),
    hidden=("first_day", "last_day"),
    param="payout",
)
SESSION = Kind(
    name="checkout.session",
    prefix="cs_test_a1",
    path="/v1/checkout/sessions",
    filters=("payment_intent", "customer", "status"),
    hidden=("line_items", "given"),
    indexes=(("payment_intent",),),
    param="session",
)
METHOD = Kind(
    name="payment_method",
    prefix="pm_1",
    path="/v1/payment_methods",
    filters=("customer", "type"),
    hidden=("token",),
    indexes=(("customer",),),
    param="payment_method",
)
CUSTOMER = Kind(
    name="customer", prefix="cus_", path="/v1/customers", filters=("email",), param="customer"
)
ENDPOINT = Kind(
    name="webhook_endpoint",
    prefix="we_1",
    path="/v1/webhook_endpoints",
    hidden=("secrets",),
    own_ids=True,
    param="webhook_endpoint",
)

KINDS = (
    INTENT, CHARGE, REFUND, DISPUTE, TRANSACTION, PAYOUT, SESSION, METHOD, CUSTOMER, ENDPOINT,
)  # fmt: skip
BY_PREFIX: Mapping[str, Kind] = MappingProxyType(
    {kind.prefix.partition("_")[0]: kind for kind in KINDS} | {"py": CHARGE, "pyr": REFUND}
)
BANK_PREFIXES: Mapping[str, str] = MappingProxyType({CHARGE.name: "py_3", REFUND.name: "pyr_1"})
"""Prefixes of what a bank account paid, and of what went back to one."""


def kind_of(identity: str) -> Kind | None:
    """The kind of an object by its id."""
    return BY_PREFIX.get(identity.partition("_")[0])

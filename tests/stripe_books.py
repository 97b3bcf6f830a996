"""A model of Stripe's books: balance transactions as Stripe makes them, behind a client's `get`.

It knows nothing of `payments`: a test moves money here and records it there.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from connectors.stripe.books import StripeBooks
from connectors.stripe.settings import StripeSettings
from schemas.errors import OutcomeUnknown
from schemas.money import to_psp_amount

BEGIN = 1_780_000_000
"""Unix seconds of the first line; each further one comes a second later."""

Object = dict[str, Any]


class StripeModel:
    """The books and what moved them; amounts are given in our minor units."""

    def __init__(self, *, page: int = 100) -> None:
        self.lines: list[Object] = []
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.now = BEGIN
        self.failures = 0
        """How many of the next pages fail, but the first."""
        self._page = page
        self._objects: dict[str, Object] = {}
        self._numbers = 0

    # -- what happens at Stripe

    def charge(
        self,
        payment_id: UUID | str | None,
        currency: str,
        amount: int,
        *,
        status: str = "succeeded",
    ) -> str:
        """An intent and its charge, of which nothing is taken yet; returns the intent's id."""
        metadata = {} if payment_id is None else {"purser_payment_id": str(payment_id)}
        intent = self._keep("pi", "payment_intent", metadata=metadata)
        self._keep(
            "ch",
            "charge",
            metadata=metadata,
            payment_intent=intent,
            currency=currency.lower(),
            amount=self._units(currency, amount),
            amount_captured=0,
            status=status,
        )
        return intent

    def capture(self, intent: str, amount: int, **line: Any) -> Object:
        """Take an amount of a charge."""
        charge = self.charge_of(intent)
        units = self._units(charge["currency"].upper(), amount)
        charge["amount_captured"] += units
        return self._line(charge, "charge", "charge", units, **line)

    def refund(self, intent: str, amount: int, *, status: str = "succeeded") -> str:
        """Give an amount back; returns the refund's id."""
        charge = self.charge_of(intent)
        currency = charge["currency"]
        units = self._units(currency.upper(), amount)
        identity = self._keep(
            "re",
            "refund",
            metadata={},
            payment_intent=intent,
            charge=charge["id"],
            currency=currency,
            amount=units,
            status=status,
        )
        self._line(self._objects[identity], "refund", "refund", -units)
        return identity

    def fail_refund(self, identity: str) -> None:
        """The money of a refund comes back."""
        refund = self._objects[identity]
        refund["status"] = "failed"
        self._line(refund, "refund_failure", "refund_failure", refund["amount"])

    def fail_charge(self, intent: str) -> None:
        """What a bank transfer had brought in advance is taken back."""
        charge = self.charge_of(intent)
        charge["status"] = "failed"
        taken = charge["amount_captured"]
        # Its source is a refund that no list shows; the charge names the line.
        identity = self._keep(
            "pyr",
            "refund",
            metadata={},
            payment_intent=intent,
            charge=charge["id"],
            currency=charge["currency"],
            amount=taken,
            status="succeeded",
        )
        back = self._line(
            self._objects[identity], "payment_failure_refund", "charge_failure", -taken
        )
        charge["failure_balance_transaction"] = back["id"]

    def dispute(self, intent: str, amount: int) -> str:
        """A bank takes an amount; returns the dispute's id."""
        charge = self.charge_of(intent)
        currency = charge["currency"]
        units = self._units(currency.upper(), amount)
        identity = self._keep(
            "dp",
            "dispute",
            metadata={},
            payment_intent=intent,
            charge=charge["id"],
            currency=currency,
            amount=units,
            status="needs_response",
        )
        self._line(self._objects[identity], "adjustment", "dispute", -units, fee=1500)
        return identity

    def reinstate(self, identity: str) -> None:
        """A dispute is won."""
        dispute = self._objects[identity]
        dispute["status"] = "won"
        self._line(dispute, "adjustment", "dispute_reversal", dispute["amount"])

    def payout(self, currency: str, amount: int) -> None:
        """Stripe pays us."""
        payout = self._objects[self._keep("po", "payout", currency=currency.lower())]
        self._line(payout, "payout", "payout", -self._units(currency, amount))

    def charge_of(self, intent: str) -> Object:
        """The charge of an intent."""
        return next(
            each
            for each in self._objects.values()
            if each["object"] == "charge" and each["payment_intent"] == intent
        )

    def intent(self, identity: str) -> Object:
        """An intent."""
        return self._objects[identity]

    def charge_of_source(self, source: str) -> Object:
        """The charge that a line is about."""
        found = self._objects[source]
        return found if found["object"] == "charge" else self._objects[found["charge"]]

    # -- the API

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Object:
        """Answer as `StripeClient.get` does."""
        asked = dict(params or {})
        self.calls.append((path, asked))
        if self.failures and "starting_after" in asked:
            self.failures -= 1
            raise OutcomeUnknown("stripe", "http_500", "answers 500")
        if path == "/v1/charges":
            return _list([self.charge_of(asked["payment_intent"])])
        if path != "/v1/balance_transactions":
            identity = path.rpartition("/")[2]
            return self._expanded(next(line for line in self.lines if line["id"] == identity))
        lines = list(reversed(self.lines))
        if (source := asked.get("source")) is not None:
            lines = [line for line in lines if line["source"] == source]
        if (created := asked.get("created")) is not None:
            lines = [line for line in lines if line["created"] >= created["gte"]]
        if (after := asked.get("starting_after")) is not None:
            place = [line["id"] for line in lines].index(after)
            lines = lines[place + 1 :]
        page = [self._expanded(line) for line in lines[: self._page]]
        return {**_list(page), "has_more": len(lines) > self._page}

    async def close(self) -> None:
        """Nothing is open."""

    def books(self) -> StripeBooks:
        """Read by the product's code."""
        settings = StripeSettings.load(api_key="sk_test_1", webhook_secret="whsec_1")
        return StripeBooks(settings, client=self, pause=_at_once)  # type: ignore[arg-type]

    # -- inside

    def _expanded(self, line: Object) -> Object:
        source = dict(self._objects[line["source"]])
        if isinstance(source.get("payment_intent"), str):
            source["payment_intent"] = self._objects[source["payment_intent"]]
        return {**line, "source": source}

    def _keep(self, prefix: str, kind: str, **fields: Any) -> str:
        self._numbers += 1
        identity = f"{prefix}_{self._numbers}"
        self._objects[identity] = {"id": identity, "object": kind, **fields}
        return identity

    def _line(self, source: Object, kind: str, category: str, amount: int, **fields: Any) -> Object:
        self._numbers += 1
        self.now += 1
        fee = fields.pop("fee", 0)
        line = {
            "id": f"txn_{self._numbers}",
            "object": "balance_transaction",
            "type": kind,
            "reporting_category": category,
            "source": source["id"],
            "currency": source["currency"],
            "amount": amount,
            "fee": fee,
            "net": amount - fee,
            "created": self.now,
            "available_on": self.now,
            **fields,
        }
        self.lines.append(line)
        return line

    @staticmethod
    def _units(currency: str, amount: int) -> int:
        return to_psp_amount("stripe", currency, amount)


async def _at_once(_: float) -> None:
    """Do not wait between two attempts."""


def _list(data: list[Object]) -> Object:
    return {"object": "list", "data": data, "has_more": False}

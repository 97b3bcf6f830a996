"""What the simulated Stripe knows, for those who check us: books, charges, reports.

Sums are computed from the objects beside the running API, on a connection of their own, in one
consistent state. `differences` says where the objects and the balance contradict each other.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from schemas.errors import InputError
from schemas.money import from_psp_amount
from simulators.clock import DAY
from simulators.control import BadRequest, guarded, json_of
from simulators.faults import identity_of
from simulators.stripe import disputes, reports
from simulators.stripe.account import Account
from simulators.stripe.errors import StripeError
from simulators.stripe.event_log import Cause
from simulators.stripe.store import decode

PAYMENT_ID = "purser_payment_id"
PAGE = 100
PAGE_MOST = 1000

SUMS = {
    "charges": "SELECT currency, count(*), sum(amount_captured) FROM charges"
    " WHERE amount_captured > 0 GROUP BY currency",
    "refunds": "SELECT currency, count(*), sum(amount) FROM refunds"
    " WHERE status NOT IN ('failed', 'canceled') GROUP BY currency",
    "refunds_failed": "SELECT currency, count(*), sum(amount) FROM refunds"
    " WHERE status IN ('failed', 'canceled') GROUP BY currency",
    "disputes": "SELECT currency, count(*), sum(amount) FROM disputes"
    " WHERE status IN ('needs_response', 'under_review', 'lost', 'won') GROUP BY currency",
    "disputes_won": "SELECT currency, count(*), sum(amount) FROM disputes"
    " WHERE status = 'won' GROUP BY currency",
    "fees": "SELECT currency, count(*), sum(fee) FROM balance_transactions"
    " WHERE fee > 0 GROUP BY currency",
    "payouts": "SELECT currency, count(*), sum(amount) FROM payouts"
    " WHERE status <> 'failed' GROUP BY currency",
    "payouts_failed": "SELECT currency, count(*), sum(amount) FROM payouts"
    " WHERE status = 'failed' GROUP BY currency",
    "balance": "SELECT currency, count(*), sum(net) FROM balance_transactions GROUP BY currency",
}
"""Kind -> count and sum by currency, in Stripe's amounts."""

DIFFERENCES = {
    "a charge's transactions are not what it captured": """
        SELECT c.id FROM charges c LEFT JOIN balance_transactions t ON t.source = c.id
        GROUP BY c.id HAVING coalesce(sum(t.amount), 0) <> c.amount_captured
    """,
    "a charge's refunds are not what it says": """
        SELECT c.id FROM charges c LEFT JOIN refunds r ON r.charge = c.id
        AND r.status NOT IN ('failed', 'canceled')
        GROUP BY c.id HAVING coalesce(sum(r.amount), 0) <> c.amount_refunded
    """,
    "more was refunded than captured": (
        "SELECT id FROM charges WHERE amount_refunded > amount_captured"
    ),
    "a refund's transactions are not its amount": """
        SELECT r.id FROM refunds r LEFT JOIN balance_transactions t ON t.source = r.id
        GROUP BY r.id HAVING coalesce(sum(t.amount), 0)
        <> CASE WHEN r.status IN ('failed', 'canceled') THEN 0 ELSE -r.amount END
    """,
    "a dispute's transactions are not what it holds": """
        SELECT d.id FROM disputes d LEFT JOIN balance_transactions t ON t.source = d.id
        GROUP BY d.id HAVING coalesce(sum(t.amount), 0) <> -d.withdrawn
    """,
    "a payout's transactions are not its amount": """
        SELECT p.id FROM payouts p LEFT JOIN balance_transactions t ON t.source = p.id
        GROUP BY p.id HAVING coalesce(sum(t.amount), 0)
        <> CASE WHEN p.status = 'failed' THEN 0 ELSE -p.amount END
    """,
    "a succeeded payment intent has no charge, or several": """
        SELECT i.id FROM payment_intents i LEFT JOIN charges c ON c.payment_intent = i.id
        AND c.amount_captured > 0 WHERE i.status = 'succeeded'
        GROUP BY i.id HAVING count(c.id) <> 1
    """,
    "a payment intent that is not succeeded has taken money": """
        SELECT i.id FROM payment_intents i JOIN charges c ON c.payment_intent = i.id
        WHERE c.amount_captured > 0 AND i.status NOT IN ('succeeded', 'requires_capture')
    """,
    "net is not amount less fee": ("SELECT id FROM balance_transactions WHERE net <> amount - fee"),
}
"""What must not be -> the ids of those that are so."""
DIFFERENCES_SHOWN = 20

_Answer = TypeVar("_Answer")


class DisputeRequest(BaseModel):
    """The body of `POST /_simulator/disputes`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    charge: Annotated[str, Field(min_length=1, max_length=255)]
    """A charge, or a payment intent."""
    amount: Annotated[int, Field(gt=0, lt=10**12)] | None = None
    reason: Annotated[str, Field(pattern="^[a-z_]{1,50}$")] = "fraudulent"
    inquiry: bool = False


class Books:
    """The paths that show the books."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> Sequence[BaseRoute]:
        """The paths."""
        return [
            Route("/_simulator/books", guarded(self.books), methods=["GET"]),
            Route("/_simulator/charges", guarded(self.charges), methods=["GET"]),
            Route("/_simulator/disputes", guarded(self.dispute), methods=["POST"]),
            Route("/_simulator/disputes/{id}/reverse", guarded(self.reverse), methods=["POST"]),
            Route("/_simulator/reports/settlement", guarded(self.settlement), methods=["GET"]),
        ]

    async def books(self, _request: Request) -> Response:
        """Count and sum of each kind, by currency."""
        return JSONResponse(await self._read(sums))

    async def charges(self, request: Request) -> Response:
        """All charges, oldest first, each with the payment id of ours."""
        limit = _integer(request, "limit", PAGE, least=1, most=PAGE_MOST)
        cursor = _integer(request, "cursor", 0, least=0, most=2**62)
        return JSONResponse(await self._read(lambda reading: charges_of(reading, cursor, limit)))

    async def settlement(self, request: Request) -> Response:
        """What was settled on a day, as Stripe's report writes it: CSV, major units."""
        text = request.query_params.get("date")
        if text is None:
            raise BadRequest(422, "date", "is missing; write it as 2026-05-31")
        try:
            day = (date.fromisoformat(text) - date(1970, 1, 1)).days
        except ValueError:
            raise BadRequest(422, "date", f"{text[:30]!r} is no date, as 2026-05-31") from None
        if len(text) != 10:
            raise BadRequest(422, "date", f"{text[:30]!r} is not written as 2026-05-31")
        if day > self._account.now // DAY:
            raise BadRequest(422, "date", f"{text} has not begun on the simulator's clock")
        body = await self._read(lambda reading: reports.settlement(reading, day))
        name = f'attachment; filename="settlement-{text}.csv"'
        return Response(body, media_type="text/csv", headers={"Content-Disposition": name})

    async def dispute(self, request: Request) -> Response:
        """Open a dispute of any charge, of any amount."""
        given = DisputeRequest.model_validate(await json_of(request))
        account = self._account
        account.cause = Cause(identity=identity_of("POST", "/_simulator/disputes", None))
        try:
            with account.database.transaction():
                body = disputes.at_will(
                    account,
                    subject=given.charge,
                    amount=given.amount,
                    reason=given.reason,
                    inquiry=given.inquiry,
                )
        except StripeError as error:
            raise BadRequest(422, "/charge", str(error)) from None
        return Response(msgspec.json.encode(body), 201, media_type="application/json")

    async def reverse(self, request: Request) -> Response:
        """Let a bank take back its decision for the buyer."""
        identity = request.path_params["id"]
        account = self._account
        path = f"/_simulator/disputes/{identity}/reverse"
        account.cause = Cause(identity=identity_of("POST", path, None))
        try:
            with account.database.transaction():
                body = disputes.reverse(account, identity)
        except StripeError as error:
            raise BadRequest(422, "/dispute", str(error)) from None
        return Response(msgspec.json.encode(body), media_type="application/json")

    async def _read(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Ask beside the API, which goes on."""

        def ask() -> _Answer:
            with self._account.database.reading() as connection:
                return question(connection)

        return await asyncio.to_thread(ask)


def sums(reading: sqlite3.Connection) -> dict[str, Any]:
    """Count and sum of each kind, by currency, and contradictions."""
    currencies: dict[str, dict[str, Any]] = {}
    for kind, statement in SUMS.items():
        for currency, count, total in reading.execute(statement):
            kinds = currencies.setdefault(
                currency.upper(), {each: {"count": 0, "sum": 0, "sum_minor": 0} for each in SUMS}
            )
            kinds[kind] = {"count": count, "sum": total, "sum_minor": minor(total, currency)}
    differences = []
    for problem, statement in DIFFERENCES.items():
        found = reading.execute(f"SELECT * FROM ({statement}) LIMIT {DIFFERENCES_SHOWN}")
        differences += [{"problem": problem, "id": identity} for (identity,) in found]
    return {"currencies": dict(sorted(currencies.items())), "differences": differences}


def minor(amount: int, currency: str) -> int | None:
    """The same money in the minor units of ISO 4217; None if it has none such."""
    try:
        return from_psp_amount("stripe", currency.upper(), amount)
    except InputError:
        return None


def charges_of(reading: sqlite3.Connection, after: int, limit: int) -> dict[str, Any]:
    """A page of charges."""
    rows = reading.execute(
        "SELECT n, body FROM charges WHERE n > ? ORDER BY n LIMIT ?", (after, limit + 1)
    ).fetchall()
    data = []
    for _, raw in rows[:limit]:
        body = decode(raw)
        currency = body["currency"]
        data.append(
            {
                "charge": body["id"],
                "payment_intent": body["payment_intent"],
                "payment_id": body["metadata"].get(PAYMENT_ID),
                "status": body["status"],
                "currency": currency.upper(),
                "amount": body["amount"],
                "captured": body["amount_captured"],
                "captured_minor": minor(body["amount_captured"], currency),
                "refunded": body["amount_refunded"],
                "refunded_minor": minor(body["amount_refunded"], currency),
                "disputed": body["disputed"],
                "created": body["created"],
                "metadata": body["metadata"],
            }
        )
    more = len(rows) > limit
    return {"data": data, "next_cursor": str(rows[limit - 1][0]) if more else None}


def _integer(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(422, name, f"{text[:20]!r} is not a whole number from {least} to {most}")
    return int(text)

"""The pages that a buyer sees at Stripe: the checkout, 3-D Secure, a receipt. No JavaScript needed.

A form's work is done as a call of the API is: without a pause and in one transaction.
"""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from simulators.stripe import amounts, banks, methods, paying, sessions
from simulators.stripe.account import Account
from simulators.stripe.errors import StripeError
from simulators.stripe.event_log import Cause
from simulators.stripe.kinds import CHARGE, INTENT, SESSION
from simulators.stripe.page_texts import CHECKOUT, NOTICE, PAGE, SECURE
from simulators.stripe.store import Body

FORM_BYTES_MOST = 16 * 1024
SEE_OTHER = 303
BANK_FIELD = "bank_account"


def routes(account: Account) -> Sequence[BaseRoute]:
    """The paths of the pages."""
    pages = Pages(account)
    return [
        Route("/c/pay/{session}", pages.checkout, methods=["GET"]),
        Route("/c/pay/{session}", pages.pay, methods=["POST"]),
        Route("/c/pay/{session}/return", pages.returned, methods=["GET"]),
        Route("/3ds/{intent}", pages.secure, methods=["GET"]),
        Route("/3ds/{intent}", pages.decide, methods=["POST"]),
        Route("/receipts/{charge}", pages.receipt, methods=["GET"]),
    ]


class Pages:
    """The pages of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def checkout(self, request: Request) -> Response:
        """The form of a checkout session; where it is paid, on to the shop."""
        session = self._account.find(SESSION, request.path_params["session"])
        if session is None:
            return _notice("This page does not exist.", 404)
        if session["status"] == "complete":
            return _leave(_with_session(session["success_url"], session))
        if session["status"] == "expired":
            return _notice("This checkout session has expired.", 410)
        return self._form(session, "", 200)

    async def pay(self, request: Request) -> Response:
        """The buyer has sent the form."""
        form = await _form_of(request)
        account = self._account
        session = account.find(SESSION, request.path_params["session"])
        if session is None or session["status"] != "open":
            return await self.checkout(request)
        account.cause = Cause(identity="POST /c/pay")
        try:
            with account.database.transaction():
                method = methods.make(account, _data(session, form), "card")
                error = sessions.pay(account, session, method)
        except StripeError as refused:
            return self._form(session, str(refused), 422)
        session = account.store.get(SESSION, session["id"])
        if error is not None:
            return self._form(session, str(error), 402)
        intent = account.store.get(INTENT, session["payment_intent"])
        if intent["status"] == "requires_action":
            return _leave(intent["next_action"]["redirect_to_url"]["url"])
        return _leave(_with_session(session["success_url"], session))

    async def returned(self, request: Request) -> Response:
        """Back from 3-D Secure."""
        session = self._account.find(SESSION, request.path_params["session"])
        if session is not None and request.query_params.get("redirect_status") == "failed":
            return self._form(session, "The card could not be authenticated. Try another one.", 402)
        return await self.checkout(request)

    async def secure(self, request: Request) -> Response:
        """The page of 3-D Secure, with two buttons."""
        intent = self._asked(request)
        if intent is None:
            return _notice("There is nothing to authenticate.", 404)
        body = SECURE.format(
            action=escape(str(request.url.include_query_params().path)),
            query=escape(request.url.query),
            amount=escape(_shown(intent["amount"], intent["currency"])),
        )
        return _page("3-D Secure", body)

    async def decide(self, request: Request) -> Response:
        """The buyer has pressed one of them."""
        form = await _form_of(request)
        intent = self._asked(request)
        if intent is None or form.get("decision") not in ("complete", "fail"):
            return _notice("There is nothing to authenticate.", 404)
        account = self._account
        account.cause = Cause(identity="POST /3ds")
        redirect = (intent["next_action"] or {}).get("redirect_to_url", {})
        with account.database.transaction():
            error = paying.authenticate(account, intent, passed=form["decision"] == "complete")
            account.store.save(INTENT, intent)
            sessions.after_payment(account, intent)
        if "return_url" not in redirect:
            return _notice("You can close this page." if error is None else str(error), 200)
        return _leave(
            _with_query(
                redirect["return_url"],
                payment_intent=intent["id"],
                payment_intent_client_secret=intent["client_secret"],
                redirect_status="succeeded" if error is None else "failed",
            )
        )

    async def receipt(self, request: Request) -> Response:
        """What a charge's `receipt_url` shows."""
        charge = self._account.find(CHARGE, request.path_params["charge"])
        if charge is None or not charge["paid"]:
            return _notice("This receipt does not exist.", 404)
        return _notice(f"Paid: {_shown(charge['amount_captured'], charge['currency'])}", 200)

    def _asked(self, request: Request) -> Body | None:
        """The intent whose buyer may be here: it waits, and the page's secret is right."""
        intent = self._account.find(INTENT, request.path_params["intent"])
        if intent is None or intent["status"] != "requires_action":
            return None
        secret = intent["client_secret"].rpartition("_")[2]
        return intent if request.query_params.get("secret") == secret else None

    def _form(self, session: Body, problem: str, status: int) -> Response:
        lines = sessions.line_items_of(self._account, session["id"])["data"]
        items = "".join(
            f"<li>{escape(str(each['description'] or 'Item'))} × {each['quantity']}: "
            f"{escape(_shown(each['amount_total'], each['currency']))}</li>"
            for each in lines
        )
        bank = [each for each in session["payment_method_types"] if each != "card"]
        cancel = session["cancel_url"]
        body = CHECKOUT.format(
            amount=escape(_shown(session["amount_total"], session["currency"])),
            items=items,
            problem=f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else "",
            bank=_bank_field(bank[0]) if bank else "",
            cancel=(
                f'<a id="cancel" href="{escape(_with_session(cancel, session))}">Cancel</a>'
                if cancel
                else ""
            ),
        )
        return _page("Checkout", body, status)


def _data(session: Body, form: dict[str, str]) -> dict[str, Any]:
    """The payment method of a form; raises StripeError."""
    billing = {"name": form.get("name") or None, "email": session["customer_email"]}
    account_number = form.get(BANK_FIELD, "").replace(" ", "")
    if account_number:
        token = banks.BY_ACCOUNT.get(account_number)
        if token is None:
            raise StripeError("This is not one of Stripe's test accounts.", param=BANK_FIELD)
        kind = banks.BANKS[token].type
        return {"type": kind, kind: {"account_number": account_number}, "billing_details": billing}
    card = {"number": form.get("card_number", "")}
    return {"type": "card", "card": card, "billing_details": billing}


def _bank_field(kind: str) -> str:
    label = "Account number" if kind == banks.US_BANK_ACCOUNT else "IBAN"
    return (
        f'<label for="{BANK_FIELD}">{label} (instead of a card)</label>'
        f'<input id="{BANK_FIELD}" name="{BANK_FIELD}" autocomplete="off">'
    )


async def _form_of(request: Request) -> dict[str, str]:
    body = await request.body()
    return dict(parse_qsl(body[:FORM_BYTES_MOST].decode("utf-8", "replace")))


def _shown(amount: int, currency: str) -> str:
    """An amount for a buyer, `25.00 EUR`; Stripe's API writes currencies in small letters."""
    return amounts.shown(amount, currency).upper()


def _with_session(url: str, session: Body) -> str:
    return url.replace("{CHECKOUT_SESSION_ID}", session["id"])


def _with_query(url: str, **more: str) -> str:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(more)) if part)
    return urlunsplit(parts._replace(query=query))


def _leave(url: str) -> Response:
    return RedirectResponse(url, SEE_OTHER)


def _notice(text: str, status: int) -> Response:
    return _page("Stripe (simulated)", NOTICE.format(text=escape(text)), status)


def _page(title: str, body: str, status: int = 200) -> Response:
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(PAGE.format(title=escape(title), body=body), status, headers)

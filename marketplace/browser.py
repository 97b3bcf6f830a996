"""A buyer's browser, as far as a payment page needs one: opens an address, submits a form.

It follows a PSP's page in the same way whoever serves it: it reads the forms of the page, fills the
fields in that it knows, and presses a button. It never opens the shop's own page, to which the PSP
sends the buyer back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import aiohttp

PAGES_MOST = 6
"""Pages in a row that one visit goes through."""


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes, what it already holds, and its buttons by name and value."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    """Collects the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(values.get("action", ""), values.get("method", "get").lower())
            self.forms.append(self._open)
        if self._open is None:
            return
        name, value = values.get("name", ""), values.get("value", "")
        kind = values.get("type", "submit" if tag == "button" else "text").lower()
        if tag in ("button", "input") and kind == "submit":
            self._open.buttons.append((name, value))
        elif tag == "input" and name and (kind != "radio" or "checked" in values):
            self._open.fields[name] = value
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in values:
                self._open.fields[self._select] = value
            self._open.fields.setdefault(self._select, value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = None


def forms_of(page: str) -> list[Form]:
    """The forms of an HTML page, in their order."""
    parser = _Forms()
    parser.feed(page)
    parser.close()
    return parser.forms


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a visit ended: the last status, and the address that the PSP sent the buyer to."""

    status: int
    sent_to: str | None = None


class Browser:
    """Visits pages of one PSP; use it inside its `async with`."""

    async def __aenter__(self) -> "Browser":
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def visit(self, url: str, buttons: tuple[str, ...], given: Mapping[str, str]) -> Visit:
        """Open `url` and submit forms until the PSP sends the buyer elsewhere, or shows no form.

        `buttons`: values of buttons in the order of preference; without any of them the first
        button is pressed. `given`: values for the fields that a form has.

        Raises aiohttp.ClientError or TimeoutError if the PSP does not answer.
        """
        host = urlsplit(url).netloc
        method, data = "get", dict[str, str]()
        status = 0
        for _ in range(PAGES_MOST):
            fields = {"data": data} if method == "post" else {"params": data or None}
            async with self._session.request(
                method, url, allow_redirects=False, **fields
            ) as response:
                status = response.status
                page = await response.text()
                location = response.headers.get("Location")
            if location is not None:
                url, method, data = urljoin(url, location), "get", {}
                if urlsplit(url).netloc != host:
                    return Visit(status, url)
                continue
            forms = forms_of(page) if status < 400 else []
            if not forms:
                break
            form, button = _press(forms, buttons)
            data = {name: given.get(name, value) for name, value in form.fields.items()}
            if button is not None and button[0]:
                data[button[0]] = button[1]
            url, method = urljoin(url, form.action), form.method
        return Visit(status)


def _press(forms: list[Form], wanted: tuple[str, ...]) -> tuple[Form, tuple[str, str] | None]:
    """The form to submit, and the button to press."""
    for value in wanted:
        for form in forms:
            for button in form.buttons:
                if button[1] == value:
                    return form, button
    return forms[0], forms[0].buttons[0] if forms[0].buttons else None

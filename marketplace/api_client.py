"""The shop's client of Purser's HTTP API: asks again under the same key until it is answered.

A request that changes something is repeated after 5xx, 429, `request_in_flight` and broken
connections, always under its key, so it has its effect once. An answer (2xx, 402 and any other
refusal) is never repeated by itself. The client keeps every latency and checks that an answer that
is repeated is the first one.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from schemas.errors import ServiceUnavailable

REQUEST_SECONDS = 30.0
"""Longest wait for one answer; the request is then sent again."""
GIVE_UP_SECONDS = 120.0
"""As long as a killed server is given to answer again."""
PAUSE_SECONDS = (0.05, 2.0)
"""First and longest pause before the same request is sent again; it doubles."""
RETRY_AFTER_SECONDS_MOST = 5.0
CONNECTIONS_MOST = 512
IN_FLIGHT = "request_in_flight"
DIFFERENT_KEPT = 20
OF_ONE_REQUEST = frozenset({"request_id"})
"""Fields of an answer that name the request and not what it asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request, after as many attempts as it took."""

    status: int
    body: Mapping[str, Any]
    replayed: bool = False

    @property
    def same(self) -> tuple[int, dict[str, Any]]:
        """What must be equal when the same request is answered once more."""
        fields = {name: at for name, at in self.body.items() if name not in OF_ONE_REQUEST}
        return self.status, fields

    @property
    def payment(self) -> Mapping[str, Any]:
        """The payment that it shows; in a refusal it is a part of the problem."""
        shown = self.body.get("payment")
        return shown if isinstance(shown, Mapping) else self.body


@dataclass(kw_only=True)
class ApiReport:
    """Counts of requests and answers; seconds are from when a request was due to its answer."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(operation, status) -> answers."""
    resent: Counter[str] = field(default_factory=Counter)
    """Why a request was sent again -> how often."""
    replays: int = 0
    compared: int = 0
    """Answers that were compared with another answer to the same request."""
    different: list[str] = field(default_factory=list)
    """The first of those that differed; none may."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Code of a problem -> answers of 4xx that have it."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def statuses(self) -> dict[int, int]:
        """Answers by status."""
        found: Counter[int] = Counter()
        for (_, status), times in self.answers.items():
            found[status] += times
        return dict(sorted(found.items()))

    def all_seconds(self) -> list[float]:
        """The seconds of all operations."""
        return [each for seconds in self.seconds.values() for each in seconds]

    def compare(self, what: str, first: Answer, again: Answer) -> None:
        """Note whether two answers to the same request are the same."""
        self.compared += 1
        if first.same != again.same and len(self.different) < DIFFERENT_KEPT:
            self.different.append(f"{what}: first {first.same}, then {again.same}")


class ApiClient:
    """Sends requests with a bearer token; use it inside its `async with`."""

    def __init__(
        self, url: str, token: str, report: ApiReport, *, give_up_seconds: float = GIVE_UP_SECONDS
    ) -> None:
        self.report = report
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._give_up_seconds = give_up_seconds

    async def __aenter__(self) -> "ApiClient":
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MOST),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(
        self,
        operation: str,
        path: str,
        body: Mapping[str, object],
        key: str,
        *,
        due: float | None = None,
        hang_up_seconds: float | None = None,
    ) -> Answer:
        """Send until answered; `due` is the monotonic time from which the latency counts.

        With `hang_up_seconds` the first attempt is abandoned so soon, whatever became of it.

        Raises:
            ServiceUnavailable: no answer for `give_up_seconds`.
        """
        content = json.dumps(body).encode()
        due = time.monotonic() if due is None else due
        if hang_up_seconds is not None:
            await self._hang_up(path, content, key, hang_up_seconds)
        return await self._until_answered(operation, "POST", path, due, content, key)

    async def get(self, operation: str, path: str) -> Answer:
        """Ask until answered; raises ServiceUnavailable as `post` does."""
        return await self._until_answered(operation, "GET", path, time.monotonic())

    async def _hang_up(self, path: str, content: bytes, key: str, seconds: float) -> None:
        self.report.resent["hung up"] += 1
        try:
            async with asyncio.timeout(seconds):
                await self._send("POST", path, content, key)
        except (TimeoutError, aiohttp.ClientError):
            pass  # so it was meant: whatever it was, the same request comes again

    async def _until_answered(
        self,
        operation: str,
        method: str,
        path: str,
        due: float,
        content: bytes | None = None,
        key: str | None = None,
    ) -> Answer:
        give_up_at = time.monotonic() + self._give_up_seconds
        pause = PAUSE_SECONDS[0]
        while True:
            wait = 0.0
            try:
                answer, wait = await self._send(method, path, content, key)
                why = _why_again(answer)
            except (aiohttp.ClientError, TimeoutError) as error:
                why = type(error).__name__
            if why is None:
                self._count(operation, answer, time.monotonic() - due)
                return answer
            if time.monotonic() > give_up_at:
                raise ServiceUnavailable(
                    f"{operation} has no answer after {self._give_up_seconds:g} s ({why}); look at"
                    " `purser status` and the API's log"
                )
            self.report.resent[why] += 1
            await asyncio.sleep(max(pause, wait))
            pause = min(PAUSE_SECONDS[1], 2 * pause)

    async def _send(
        self, method: str, path: str, content: bytes | None, key: str | None
    ) -> tuple[Answer, float]:
        """One attempt: the answer, and the seconds that the server asks us to wait."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        async with self._session.request(
            method, self._url + path, data=content, headers=headers, allow_redirects=False
        ) as response:
            answer = Answer(
                status=response.status,
                body=_object(await response.read()),
                replayed=response.headers.get("Idempotent-Replayed") == "true",
            )
            return answer, _seconds(response.headers.get("Retry-After"))

    def _count(self, operation: str, answer: Answer, seconds: float) -> None:
        report = self.report
        report.answers[operation, answer.status] += 1
        report.replays += answer.replayed
        report.seconds[operation].append(seconds)
        if answer.status >= 400:
            report.refusals[str(answer.body.get("code", "no code"))] += 1


def _why_again(answer: Answer) -> str | None:
    """Why the same request must be sent again; None if it is answered."""
    code = answer.body.get("code")
    if answer.status >= 500 or answer.status in (408, 429):
        return f"{answer.status} {code}" if code else str(answer.status)
    return f"409 {IN_FLIGHT}" if answer.status == 409 and code == IN_FLIGHT else None


def _object(content: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer; a body that is none counts as an empty one."""
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(text: str | None) -> float:
    """The seconds of `Retry-After`, at most a few; 0 for a date or none."""
    return min(float(text), RETRY_AFTER_SECONDS_MOST) if text and text.isdigit() else 0.0

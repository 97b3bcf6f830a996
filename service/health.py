"""`/healthz`: the process works. `/readyz`: it can take payments. Neither needs a token.

Ready means that the writer gets answers from PostgreSQL and the issuer's keys are known. ClickHouse
is reported and decides nothing, Redis and the payment service provider are not asked: without them
payments are still recorded, and what cannot be charged now is charged later.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import PurserError
from service import answers
from service.facts import SCOPE

LOOK_SECONDS = 1.0
"""Least time between two looks, however often somebody asks."""
ANSWER_SECONDS = 2.0

Look = Callable[[], Awaitable[object]]


class Readiness:
    """Looks at what the API needs. `needed` decide; `useful` are only reported."""

    def __init__(self, needed: Mapping[str, Look], useful: Mapping[str, Look]) -> None:
        self._needed = needed
        self._useful = useful
        self._found: dict[str, str | None] = {}
        self._looked_at = float("-inf")
        self._lock = asyncio.Lock()
        self.stopping = False

    async def report(self) -> dict[str, object]:
        """Whether payments can be taken: `status` is `healthy`; and what is wrong with what."""
        async with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                looks = {**self._needed, **self._useful}
                problems = await asyncio.gather(*map(_problem, looks.values()))
                self._found = dict(zip(looks, problems, strict=True))
                self._looked_at = time.monotonic()
        reasons = [
            f"{name}: {problem}"
            for name, problem in self._found.items()
            if problem is not None and name in self._needed
        ]
        if self.stopping:
            reasons.append("the process is stopping")
        checks = {name: problem or "ok" for name, problem in self._found.items()}
        status = "unhealthy" if reasons else "healthy"
        return {"status": status, "reasons": reasons, "checks": checks}

    async def public_report(self) -> dict[str, object]:
        """The same without what names addresses, servers and logins: that is for operators."""
        report = await self.report()
        checks = {name: "failing" if problem else "ok" for name, problem in self._found.items()}
        return {"status": report["status"], "checks": checks}


async def _problem(look: Look) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await look()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"
    except (PurserError, OSError) as error:
        return str(error)
    return None


async def healthz(request: Request) -> Response:
    """Whether the process works."""
    request.scope[SCOPE].route = "healthz"
    return answers.json({"status": "healthy"})


async def readyz(request: Request) -> Response:
    """Whether payments can be taken."""
    request.scope[SCOPE].route = "readyz"
    readiness: Readiness = request.app.state.readiness
    report = await readiness.public_report()
    return answers.json(report, 200 if report["status"] == "healthy" else 503)

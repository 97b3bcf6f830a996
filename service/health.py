"""`/healthz`: the process works. `/readyz`: it can take payments. Neither needs a token.

Ready means that PostgreSQL takes appends and the issuer's keys are known. ClickHouse, Redis and the
payment service provider are reported and decide nothing: without them payments are still recorded,
and what cannot be charged now is charged later.
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


async def _problem(look: Look) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await look()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"
    except PurserError as error:
        return str(error)
    except OSError as error:
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
    report = await readiness.report()
    if report["status"] != "healthy":
        # Reasons name addresses and servers; they are on the metrics' port, for operators.
        return answers.json({"status": "unhealthy"}, 503)
    return answers.json({"status": report["status"], "checks": report["checks"]})

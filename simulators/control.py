"""What is ours and not the simulated company's: `/_simulator/…` to make faults and pass time.

Bad input gets 400 (no JSON) or 422, and names the field.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulators.clock import ADVANCE_SECONDS_MOST, Clock
from simulators.database import Database
from simulators.faults import FaultRequest, Faults

BODY_BYTES_MOST = 64 * 1024
_FAULTS = "faults"


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("give a number of seconds")
    return value


class AdvanceRequest(BaseModel):
    """The body of `POST /_simulator/clock`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    advance_seconds: Annotated[
        float, BeforeValidator(_number), Field(ge=0, le=ADVANCE_SECONDS_MOST, allow_inf_nan=False)
    ]


class BadRequest(Exception):  # noqa: N818 - named for the answer
    """Input that is refused; `field` is a JSON pointer or the name of a parameter."""

    def __init__(self, status: int, field: str, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.field = field
        self.problem = problem

    def response(self) -> JSONResponse:
        """The answer."""
        error = {"field": self.field, "message": self.problem}
        return JSONResponse({"error": error}, status_code=self.status)


def refused(error: ValidationError) -> BadRequest:
    """Name the first field that is wrong."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    pointer = "".join(f"/{part}" for part in first["loc"])
    return BadRequest(422, pointer or "/", first["msg"].removeprefix("Value error, "))


async def json_of(request: Request) -> Any:
    """The JSON of a body; raises BadRequest."""
    body = await request.body()
    if len(body) > BODY_BYTES_MOST:
        raise BadRequest(413, "/", f"the body has more than {BODY_BYTES_MOST} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(400, "/", "the body is not JSON; send a JSON object") from None


Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint) -> Endpoint:
    """Answer bad input as such."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValidationError as error:
            return refused(error).response()
        except BadRequest as error:
            return error.response()

    return answer


class Control:
    """The plan of faults and the clock over HTTP."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        faults: Faults,
        advance: Callable[[float], Awaitable[None]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._faults = faults
        self._advance = advance
        kept = database.meta(_FAULTS)
        if kept is not None:
            faults.put(FaultRequest.model_validate_json(kept))

    def routes(self) -> Sequence[BaseRoute]:
        """The paths."""
        return [
            Route("/_simulator/faults", guarded(self.put_faults), methods=["PUT"]),
            Route("/_simulator/faults", guarded(self.delete_faults), methods=["DELETE"]),
            Route("/_simulator/faults", guarded(self.get_faults), methods=["GET"]),
            Route("/_simulator/clock", guarded(self.post_clock), methods=["POST"]),
            Route("/_simulator/clock", guarded(self.get_clock), methods=["GET"]),
        ]

    async def put_faults(self, request: Request) -> Response:
        """Begin a plan; all counts begin anew."""
        plan = FaultRequest.model_validate(await json_of(request))
        with self._database.transaction():
            self._database.keep_meta(_FAULTS, plan.model_dump_json())
        self._faults.put(plan)
        return JSONResponse(self._faults.answer())

    async def delete_faults(self, _request: Request) -> Response:
        """End the plan."""
        with self._database.transaction():
            self._database.keep_meta(_FAULTS, None)
        self._faults.put(None)
        return JSONResponse(self._faults.answer())

    async def get_faults(self, _request: Request) -> Response:
        """The plan in force."""
        return JSONResponse(self._faults.answer())

    async def post_clock(self, request: Request) -> Response:
        """Let time pass; answers when everything that is due within it has happened."""
        advance = AdvanceRequest.model_validate(await json_of(request))
        await self._advance(advance.advance_seconds)
        return self._time()

    async def get_clock(self, _request: Request) -> Response:
        """The time."""
        return self._time()

    def _time(self) -> Response:
        now = self._clock.now()
        text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        return JSONResponse(
            {
                "now": text.replace("+00:00", "Z"),
                "now_seconds": int(now),
                "offset_seconds": round(self._clock.offset_seconds, 3),
            }
        )

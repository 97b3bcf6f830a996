"""Stripe's errors as its API answers them: status, type, code, parameter, message. Pure."""

from typing import Any

DOCUMENTATION = "https://docs.stripe.com/error-codes/"


class StripeError(Exception):
    """An answer that is an error.

    `executed` says that the call was worked on before it failed: Stripe keeps such an answer for
    the Idempotency-Key. The answer to a call that is wrong in itself is not kept.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        executed: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.code = code
        self.error: dict[str, Any] = {}
        if code is not None:
            self.error["code"] = code
            self.error["doc_url"] = DOCUMENTATION + code.replace("_", "-")
        self.error["message"] = message
        if param is not None:
            self.error["param"] = param
        self.error["type"] = kind
        self.error.update(more)

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {"error": self.error}


def missing(name: str) -> StripeError:
    """A required parameter is not there."""
    return StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)


def unknown(names: list[str]) -> StripeError:
    """Parameters that the endpoint does not have."""
    text = (
        f"Received unknown parameter: {names[0]}"
        if len(names) == 1
        else f"Received unknown parameters: {', '.join(names)}"
    )
    return StripeError(text, code="parameter_unknown", param=names[0])


def no_such(kind: str, identity: str, param: str, *, status: int = 404) -> StripeError:
    """An id that names nothing; 404 if it is in the path, 400 if it is a parameter."""
    noun = kind.replace(".", "_") if kind != "checkout.session" else "checkout.session"
    return StripeError(
        f"No such {noun}: '{identity}'", status=status, code="resource_missing", param=param
    )


def unauthorized(message: str) -> StripeError:
    """No key, or a wrong one."""
    return StripeError(message, status=401)


NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header,"
    " using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See"
    " https://docs.stripe.com/api#authentication for details."
)


def wrong_key(key: str) -> StripeError:
    """The key is not this account's; only its ends are shown."""
    shown = f"{key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}" if len(key) > 12 else "*" * len(key)
    return unauthorized(f"Invalid API Key provided: {shown}")


def rate_limited() -> StripeError:
    """429: try again."""
    return StripeError(
        "Request rate limit exceeded. Learn more about rate limits here"
        " https://docs.stripe.com/rate-limits.",
        status=429,
        code="rate_limit",
    )


def key_in_use(key: str) -> StripeError:
    """409: another request with this key is being worked on."""
    return StripeError(
        f"There is currently another in-progress request using this Idempotent Key: {key}. This"
        " likely means that you submitted a request with this key twice. Please wait for the other"
        " request to complete, or use another key.",
        status=409,
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )


def internal() -> StripeError:
    """500: something went wrong at Stripe."""
    return StripeError("An unknown error occurred. Please try again.", status=500, kind="api_error")

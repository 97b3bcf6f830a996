"""Parses an HTTP request as ClickHouse does: settings, parameters, formats, session."""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from stack.clickhouse_http.errors import Code, refusal

DEFAULT_SESSION_SECONDS: Final = 60
MAX_SESSION_SECONDS: Final = 3600
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# Query-string names that are not settings, as in ClickHouse's HTTPHandler.
_RESERVED: Final = frozenset(
    [
        "query",
        "query_id",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "compress",
        "decompress",
        "session_id",
        "session_timeout",
        "session_check",
        "session_close",
        "stacktrace",
        "role",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "close_session",
    ]
)
# This server implements these itself and does not pass them to the engine.
_HANDLED_HERE: Final = frozenset(
    [
        "enable_http_compression",
        "http_zlib_compression_level",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "http_response_buffer_size",
        "http_write_exception_in_output_format",
        "cancel_http_readonly_queries_on_client_close",
        "add_http_cors_header",
        "async_insert",
        "wait_for_async_insert",
    ]
)
_TRUE: Final = frozenset({"1", "true", "True"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """An HTTP session: it ends after `timeout_seconds` idle; `must_exist` refuses a new one."""

    session_id: str
    timeout_seconds: int
    must_exist: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """What one request asks for, besides its body.

    `settings` apply only to this query; `parameters` are the values of `{name:Type}` in
    ClickHouse's escaped text form.
    """

    query: str
    query_id: str
    database: str | None
    default_format: str | None
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    roles: tuple[str, ...]
    session: SessionOptions | None
    compress_result: bool
    wait_end_of_query: bool
    fields: Mapping[str, str] = field(default_factory=dict)


def read_request(
    items: Iterable[tuple[str, str]], headers: Mapping[str, str], *, get: bool
) -> QueryRequest:
    """Interpret the query string's (and a form's) items; `get` makes the query read-only.

    Raises `ClickHouseError` for a name that cannot be a setting and for an invalid session timeout.
    """
    query, roles = [], []
    settings: dict[str, str] = {}
    parameters: dict[str, str] = {}
    fields: dict[str, str] = {}
    for name, value in items:
        if name == "query":
            query.append(value)
        elif name == "role":
            roles.append(value)
        elif name.startswith("param_"):
            parameters[name[len("param_") :]] = value
        elif name in _RESERVED or name in _HANDLED_HERE:
            fields[name] = value
        elif _SETTING_NAME.fullmatch(name):
            settings[name] = value
        else:
            raise refusal(Code.UNKNOWN_SETTING, f"Unknown setting '{name}'.")
    if get and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    return QueryRequest(
        query="".join(query),
        query_id=_query_id(fields),
        database=fields.get("database") or headers.get("x-clickhouse-database"),
        default_format=headers.get("x-clickhouse-format") or fields.get("default_format"),
        settings=settings,
        parameters=parameters,
        roles=tuple(roles),
        session=_session(fields),
        compress_result=fields.get("enable_http_compression", "1") in _TRUE,
        wait_end_of_query=fields.get("wait_end_of_query", "0") in _TRUE,
        fields=fields,
    )


def _query_id(fields: Mapping[str, str]) -> str:
    """Return the given id, or a new one; it is sent in a header, so no control characters."""
    given = fields.get("query_id")
    if given and _CONTROL.search(given):
        raise refusal(Code.BAD_ARGUMENTS, "query_id holds a control character.")
    return given or str(uuid.uuid4())


def _session(fields: Mapping[str, str]) -> SessionOptions | None:
    session_id = fields.get("session_id")
    if not session_id:
        return None
    text = fields.get("session_timeout", str(DEFAULT_SESSION_SECONDS))
    if not text.isascii() or not text.isdigit():
        raise refusal(Code.INVALID_SESSION_TIMEOUT, f"Invalid session timeout: '{text}'")
    if int(text) > MAX_SESSION_SECONDS:
        raise refusal(
            Code.INVALID_SESSION_TIMEOUT,
            f"Session timeout '{text}' is larger than max_session_timeout: {MAX_SESSION_SECONDS}.",
        )
    return SessionOptions(
        session_id=session_id,
        timeout_seconds=int(text),
        must_exist=fields.get("session_check", "0") in _TRUE,
    )

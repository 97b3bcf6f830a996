"""Parses an HTTP request as ClickHouse does: settings, parameters, formats, session."""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stack.clickhouse_http.blocks import DEFAULT_METHOD, METHODS
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.native import check_version
from stack.clickhouse_http.parameters import (
    HTTP_SETTINGS,
    RESERVED,
    flag,
    number,
    refuse_unsupported,
)

DEFAULT_SESSION_SECONDS: Final = 60
MAX_SESSION_SECONDS: Final = 3600
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
MAX_BUFFER_BYTES: Final = 1 << 30
MAX_PROTOCOL_VERSION: Final = 1 << 31
_MAX_ZLIB_LEVEL: Final = 9
_MAX_ZSTD_LEVEL: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """An HTTP session: it ends after `timeout_seconds` idle, or with `close` after this request;
    `must_exist` refuses a new one.
    """

    session_id: str
    timeout_seconds: int
    must_exist: bool
    close: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """How an answer is sent.

    `block_method` is the method of ClickHouse's own blocks, None for an answer without; a level is
    that of gzip (`zlib_level`) or of ZSTD in blocks.
    """

    http_compression: bool
    zlib_level: int
    block_method: str | None
    zstd_level: int
    buffer_bytes: int
    wait_end_of_query: bool
    progress: bool
    protocol_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyOptions:
    """How the body comes: in ClickHouse's own blocks, and whether their checksums are verified."""

    in_blocks: bool
    verify_blocks: bool


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
    body: BodyOptions
    answer: AnswerOptions


def read_request(
    items: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    *,
    get: bool,
    answer: AnswerOptions | None = None,
) -> QueryRequest:
    """Interpret the query string's (and a form's) items; `get` makes the query read-only.

    `answer` are the items' `answer_options`, if they are known.

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
        elif name in RESERVED or name in HTTP_SETTINGS:
            fields[name] = value
        elif _SETTING_NAME.fullmatch(name):
            settings[name] = value
        else:
            raise refusal(Code.UNKNOWN_SETTING, f"Unknown setting '{name}'.")
    refuse_unsupported(fields)
    if get and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    return QueryRequest(
        query="".join(query),
        query_id=_query_id(fields.get("query_id") or headers.get("x-clickhouse-query-id")),
        database=headers.get("x-clickhouse-database") or fields.get("database"),
        default_format=headers.get("x-clickhouse-format") or fields.get("default_format"),
        settings=settings,
        parameters=parameters,
        roles=tuple(roles),
        session=_session(fields),
        body=BodyOptions(
            in_blocks=flag(fields, "decompress"),
            verify_blocks=not flag(
                fields, "http_native_compression_disable_checksumming_on_decompress"
            ),
        ),
        answer=answer or answer_options(fields),
    )


def answer_options(fields: Mapping[str, str]) -> AnswerOptions:
    """Read how the answer is to be sent; raises 36 and 89 for impossible values."""
    method = fields.get("network_compression_method", DEFAULT_METHOD).upper()
    if method not in METHODS:
        raise refusal(
            Code.UNKNOWN_COMPRESSION_METHOD,
            f"network_compression_method: {method} is not supported; use {', '.join(METHODS)}.",
        )
    setting = number(fields, "http_response_buffer_size", default=0, most=MAX_BUFFER_BYTES)
    wait = flag(fields, "http_wait_end_of_query")
    version = number(fields, "client_protocol_version", default=0, most=MAX_PROTOCOL_VERSION)
    check_version(version)
    number(fields, "http_headers_progress_interval_ms", default=100, most=MAX_BUFFER_BYTES)
    return AnswerOptions(
        http_compression=flag(fields, "enable_http_compression", default=True),
        zlib_level=number(fields, "http_zlib_compression_level", default=3, most=_MAX_ZLIB_LEVEL),
        block_method=method if flag(fields, "compress") else None,
        zstd_level=number(
            fields, "network_zstd_compression_level", default=1, most=_MAX_ZSTD_LEVEL
        ),
        buffer_bytes=number(fields, "buffer_size", default=setting, most=MAX_BUFFER_BYTES),
        wait_end_of_query=flag(fields, "wait_end_of_query", default=wait),
        progress=flag(fields, "send_progress_in_http_headers"),
        protocol_version=version,
    )


def _query_id(given: str | None) -> str:
    """Return the given id, or a new one; it is sent in a header, so no control characters."""
    if given and _CONTROL.search(given):
        raise refusal(Code.BAD_ARGUMENTS, "query_id holds a control character.")
    return given or str(uuid.uuid4())


def _session(fields: Mapping[str, str]) -> SessionOptions | None:
    session_id = fields.get("session_id")
    if not session_id:
        if flag(fields, "close_session"):
            raise refusal(Code.BAD_ARGUMENTS, "close_session=1 needs a session_id.")
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
        must_exist=flag(fields, "session_check"),
        close=flag(fields, "close_session"),
    )

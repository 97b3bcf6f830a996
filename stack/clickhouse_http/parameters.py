"""What a query string may hold besides settings: each name is implemented or refused, none ignored.

The names are those of ClickHouse's `HTTPHandler` (`reserved_param_names`) and its settings of the
HTTP interface, which the engine behind this server knows but cannot act on. Every other name is a
setting, which the engine takes or refuses.
"""

from collections.abc import Mapping
from typing import Final

from stack.clickhouse_http.errors import Code, refusal

RESERVED: Final[Mapping[str, str]] = {
    "query": "the statement, or its beginning: the body follows it",
    "query_id": "the statement runs under it: 216 while another does, KILL QUERY stops it",
    "database": "the current database",
    "default_format": "the format of a statement without FORMAT",
    "user": "who asks",
    "password": "the user's",
    "quota_key": "whose quota counts: there are no quotas, so it decides nothing",
    "role": "a role to take on; several may be given",
    "session_id": "the session to use or to open",
    "session_timeout": "how many seconds it may be idle",
    "session_check": "1: it must exist",
    "close_session": "1: it ends after the statement",
    "compress": "1: the answer comes in blocks",
    "decompress": "1: the body comes in blocks",
    "client_protocol_version": "how the format Native is written",
    "buffer_size": "how many bytes of the answer wait before the first leaves",
    "wait_end_of_query": "1: all of them wait",
    "stacktrace": "1 is refused",
}
"""Names of ClickHouse's HTTP interface, and what each means here."""

HTTP_SETTINGS: Final[Mapping[str, str]] = {
    "enable_http_compression": "0: the answer is not compressed, whatever the client accepts",
    "http_zlib_compression_level": "of gzip and deflate, 1 to 9",
    "network_compression_method": "of the blocks: LZ4, ZSTD or NONE",
    "network_zstd_compression_level": "of ZSTD in blocks, 1 to 15",
    "http_native_compression_disable_checksumming_on_decompress": "1: no checksum is verified",
    "http_response_buffer_size": "as buffer_size",
    "http_wait_end_of_query": "as wait_end_of_query",
    "send_progress_in_http_headers": "1: X-ClickHouse-Progress comes, once, with the answer",
    "http_headers_progress_interval_ms": "how often it may come: it comes once",
    "cancel_http_readonly_queries_on_client_close": "a query ends when its client goes: always",
    "add_http_cors_header": "a page of another origin may read the answer: always",
    "async_insert": "an insert is answered when it is stored: always",
    "wait_for_async_insert": "as async_insert",
    "http_write_exception_in_output_format": "1 is refused",
    "replace_running_query": "1 is refused",
}
"""Settings that this server acts on itself and does not pass to the engine."""

_REFUSED: Final[Mapping[str, str]] = {
    "stacktrace": "errors come without a stack trace",
    "http_write_exception_in_output_format": "errors come as text",
    "replace_running_query": "stop the running query with KILL QUERY first",
}
"""What cannot be switched on here, and what to know instead."""

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false", ""})


def refuse_unsupported(fields: Mapping[str, str]) -> None:
    """Raise 48 for a parameter that asks for what this server cannot do."""
    for name, instead in _REFUSED.items():
        if flag(fields, name):
            raise refusal(
                Code.NOT_IMPLEMENTED, f"{name}=1 is not supported by this server: {instead}."
            )


def flag(fields: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a parameter that is 1 or 0, or true or false; raises 36 for anything else."""
    given = fields.get(name)
    if given is None:
        return default
    if given.lower() in _TRUE:
        return True
    if given.lower() in _FALSE:
        return False
    raise refusal(Code.BAD_ARGUMENTS, f"{name}: expected 0 or 1, not '{given}'.")


def number(fields: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    """Return a parameter that is a whole number up to `most`; raises 36 for anything else."""
    given = fields.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 19 or int(given) > most:
        raise refusal(
            Code.BAD_ARGUMENTS, f"{name}: expected a whole number up to {most}, not '{given}'."
        )
    return int(given)

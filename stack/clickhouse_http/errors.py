"""ClickHouse's errors: code, text, and the HTTP status that ClickHouse itself would choose."""

import re
from enum import IntEnum
from typing import Final

from schemas.errors import PurserError
from stack.clickhouse_http.marks import without_marks


class Code(IntEnum):
    """The codes that this server raises or maps to a status; names as in ClickHouse."""

    CANNOT_PARSE_TEXT = 6
    THERE_IS_NO_COLUMN = 8
    DUPLICATE_COLUMN = 15
    CANNOT_PARSE_ESCAPE_SEQUENCE = 25
    CANNOT_PARSE_QUOTED_STRING = 26
    CANNOT_PARSE_INPUT_ASSERTION_FAILED = 27
    TOO_LARGE_SIZE_COMPRESSED = 31
    CANNOT_READ_ALL_DATA = 33
    BAD_ARGUMENTS = 36
    UNKNOWN_ELEMENT_IN_AST = 37
    CANNOT_PARSE_DATE = 38
    CHECKSUM_DOESNT_MATCH = 40
    CANNOT_PARSE_DATETIME = 41
    ILLEGAL_COLUMN = 44
    UNKNOWN_FUNCTION = 46
    UNKNOWN_IDENTIFIER = 47
    NOT_IMPLEMENTED = 48
    UNKNOWN_TYPE = 50
    TYPE_MISMATCH = 53
    UNKNOWN_STORAGE = 56
    UNKNOWN_TABLE = 60
    SYNTAX_ERROR = 62
    UNKNOWN_AGGREGATE_FUNCTION = 63
    CANNOT_PARSE_NUMBER = 72
    UNKNOWN_FORMAT = 73
    CANNOT_WRITE_TO_FILE_DESCRIPTOR = 75
    CANNOT_OPEN_FILE = 76
    UNKNOWN_TYPE_OF_QUERY = 78
    UNKNOWN_DATABASE = 81
    UNKNOWN_COMPRESSION_METHOD = 89
    UNKNOWN_SETTING = 115
    INCORRECT_DATA = 117
    UNKNOWN_TYPE_OF_AST_NODE = 123
    UNKNOWN_DIRECTION_OF_SORTING = 152
    TIMEOUT_EXCEEDED = 159
    READONLY = 164
    TOO_DEEP_AST = 167
    TOO_BIG_AST = 168
    UNKNOWN_USER = 192
    WRONG_PASSWORD = 193
    REQUIRED_PASSWORD = 194
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    SOCKET_TIMEOUT = 209
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
    UNEXPECTED_AST_STRUCTURE = 223
    QUERY_IS_TOO_LARGE = 229
    ABORTED = 236
    NOT_ENOUGH_SPACE = 243
    CANNOT_DECOMPRESS = 271
    VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE = 321
    UNKNOWN_DATABASE_ENGINE = 336
    INTO_OUTFILE_NOT_ALLOWED = 358
    SESSION_NOT_FOUND = 372
    SESSION_IS_LOCKED = 373
    INVALID_SESSION_TIMEOUT = 374
    CANNOT_PARSE_UUID = 376
    HTTP_LENGTH_REQUIRED = 381
    CANNOT_COMPILE_REGEXP = 427
    CANNOT_SCHEDULE_TASK = 439
    CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING = 441
    ACCESS_DENIED = 497
    UNKNOWN_ROLE = 511
    SET_NON_GRANTED_ROLE = 512
    AUTHENTICATION_FAILED = 516
    CANNOT_PARSE_IPV4 = 675
    CANNOT_PARSE_IPV6 = 676
    UNSUPPORTED_MEDIA_TYPE = 779
    UNKNOWN_EXCEPTION = 1002


# ClickHouse's src/Server/HTTP/exceptionCodeToHTTPStatus.cpp as a table; all others are 500.
_CODES_BY_STATUS: Final[dict[int, tuple[Code, ...]]] = {
    401: (Code.REQUIRED_PASSWORD,),
    403: (
        Code.UNKNOWN_USER,
        Code.WRONG_PASSWORD,
        Code.AUTHENTICATION_FAILED,
        Code.SET_NON_GRANTED_ROLE,
        Code.ACCESS_DENIED,
    ),
    400: (
        Code.BAD_ARGUMENTS,
        Code.CANNOT_COMPILE_REGEXP,
        Code.CANNOT_PARSE_TEXT,
        Code.CANNOT_PARSE_ESCAPE_SEQUENCE,
        Code.CANNOT_PARSE_QUOTED_STRING,
        Code.CANNOT_PARSE_DATE,
        Code.CANNOT_PARSE_DATETIME,
        Code.CANNOT_PARSE_NUMBER,
        Code.CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING,
        Code.CANNOT_PARSE_IPV4,
        Code.CANNOT_PARSE_IPV6,
        Code.CANNOT_PARSE_INPUT_ASSERTION_FAILED,
        Code.CANNOT_PARSE_UUID,
        Code.DUPLICATE_COLUMN,
        Code.ILLEGAL_COLUMN,
        Code.UNKNOWN_ELEMENT_IN_AST,
        Code.UNKNOWN_TYPE_OF_AST_NODE,
        Code.THERE_IS_NO_COLUMN,
        Code.TOO_DEEP_AST,
        Code.TOO_BIG_AST,
        Code.UNEXPECTED_AST_STRUCTURE,
        Code.SYNTAX_ERROR,
        Code.INCORRECT_DATA,
        Code.TYPE_MISMATCH,
        Code.VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE,
    ),
    404: (
        Code.UNKNOWN_TABLE,
        Code.UNKNOWN_FUNCTION,
        Code.UNKNOWN_IDENTIFIER,
        Code.UNKNOWN_TYPE,
        Code.UNKNOWN_STORAGE,
        Code.UNKNOWN_DATABASE,
        Code.UNKNOWN_SETTING,
        Code.UNKNOWN_DIRECTION_OF_SORTING,
        Code.UNKNOWN_AGGREGATE_FUNCTION,
        Code.UNKNOWN_FORMAT,
        Code.UNKNOWN_DATABASE_ENGINE,
        Code.UNKNOWN_TYPE_OF_QUERY,
        Code.UNKNOWN_ROLE,
    ),
    408: (Code.TIMEOUT_EXCEEDED,),
    411: (Code.HTTP_LENGTH_REQUIRED,),
    413: (Code.QUERY_IS_TOO_LARGE,),
    415: (Code.UNSUPPORTED_MEDIA_TYPE,),
    501: (Code.NOT_IMPLEMENTED,),
    503: (Code.SOCKET_TIMEOUT, Code.CANNOT_OPEN_FILE, Code.CANNOT_SCHEDULE_TASK),
}
_STATUS_BY_CODE: Final[dict[int, int]] = {
    code: status for status, codes in _CODES_BY_STATUS.items() for code in codes
}

_ENGINE_TEXT = re.compile(r"Code: (\d+)\. .*", re.DOTALL)


class ClickHouseError(PurserError):
    """A failed request; `code` and `text` are what a ClickHouse server would answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def http_status(self) -> int:
        """The HTTP status that ClickHouse chooses for this code."""
        return _STATUS_BY_CODE.get(self.code, 500)


def refusal(code: Code, problem: str) -> ClickHouseError:
    """Return an error of this server, worded like ClickHouse's errors."""
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {problem} ({code.name})")


def from_engine(error: Exception) -> ClickHouseError:
    """Convert an exception of chDB; keeps the engine's text and drops its wrapping.

    The text may quote data that is not UTF-8: such bytes stay in it as surrogates.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):  # of chDB, which decodes the engine's text
        text = error.object.decode("utf-8", "surrogateescape")
    match = _ENGINE_TEXT.search(text)
    if match is None:
        return refusal(Code.UNKNOWN_EXCEPTION, text or type(error).__name__)
    return ClickHouseError(int(match.group(1)), without_marks(match.group(0).strip()))

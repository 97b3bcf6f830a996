"""The one tree of errors: every failure that Purser raises on purpose derives from `PurserError`.

    PurserError
    ├── InputError              what somebody gave us is wrong; names the field and what to do
    ├── ConfigurationError      a setting, a prerequisite or a port is wrong; refuse to start
    ├── SchemaVersionError      a database's schema is missing, or newer than this code
    ├── Rejection               a command that the rules refuse (a value of `writer.decide` as well)
    ├── DecodeError             a record that cannot be read; goes whole to the dead letters
    │   ├── MalformedRecord     not JSON, a field missing or of the wrong type
    │   ├── NullRecord          no value at all: a tombstone
    │   ├── UnexpectedChange    an update or a delete, which an append-only table cannot have
    │   ├── KeyMismatch         the record's key names another payment than its value
    │   ├── UnknownEvent        an event type or a state that this code does not know
    │   ├── NewerSchema         an event written by newer code than this
    │   └── BrokenInvariant     readable, but it contradicts itself: it cannot be folded
    │       └── UnbalancedPosting   its postings do not sum to zero
    ├── ServiceUnavailable      a server is down, refuses us or answers nonsense; retry may help
    └── WriteRefused            a database understood us and says no; retry does not help

Messages are one line, name the thing that is wrong and end with what to do next.
Foreign exceptions are translated into these at one place per boundary.
"""


class PurserError(Exception):
    """Base of all errors raised on purpose; `str()` is fit to show to a user.

    `exit_status` is what the command line ends with when this error reaches it.
    """

    exit_status: int = 1


class InputError(PurserError):
    """Input that is not acceptable: the message names the field and what to do."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ConfigurationError(PurserError):
    """A setting, prerequisite, port or file that keeps us from starting."""

    exit_status = 2


class SchemaVersionError(ConfigurationError):
    """A database schema that is missing, behind, or newer than this code."""


class Rejection(PurserError):  # noqa: N818 - the field's word for a refused command
    """A command refused by the rules; nothing was appended.

    `code` is one of `schemas.rejections.RejectionCode`, `field` the command's field at fault,
    `problem` says what is wrong and what would be accepted.
    """

    def __init__(self, *, code: str, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem} [{code}]")
        self.code = code
        self.field = field
        self.problem = problem


class DecodeError(PurserError):
    """A record that cannot be turned into an event; the whole record goes to the dead letters.

    `reason` is the stable, machine-readable name of the category.
    """

    reason: str = "malformed_record"


class MalformedRecord(DecodeError):  # noqa: N818 - named for what the record is
    """Not JSON, a missing field, a wrong type, a value out of range."""


class NullRecord(DecodeError):  # noqa: N818
    """A record without a value; compaction's tombstones have no place in this topic."""

    reason = "null_record"


class UnexpectedChange(DecodeError):  # noqa: N818
    """A change that is neither an insert nor a row of the initial snapshot."""

    reason = "unexpected_change"


class KeyMismatch(DecodeError):  # noqa: N818
    """A record whose key is not its payment's id, so that the payment's order is lost."""

    reason = "key_mismatch"


class BrokenInvariant(DecodeError):  # noqa: N818
    """An event that can be read but contradicts itself, such as shares above the amount."""

    reason = "broken_invariant"


class UnbalancedPosting(BrokenInvariant):
    """An event whose postings do not sum to zero; none of them is written."""


class UnknownEvent(DecodeError):  # noqa: N818
    """An event type, or a state after it, that this version of the code does not know."""

    reason = "unknown_event_type"


class NewerSchema(DecodeError):  # noqa: N818
    """An event whose schema_version is higher than this code understands."""

    reason = "newer_schema_version"


class ServiceUnavailable(PurserError):  # noqa: N818
    """A server is down, refuses us, or answers something we cannot use."""

    exit_status = 2


class WriteRefused(PurserError):  # noqa: N818
    """A database that answered and refused what we wrote: the same again is refused again."""

"""The tree of errors: every error that Purser raises deliberately derives from `PurserError`.

    PurserError
    ├── InputError              the user's input is wrong; names the field and what to do
    │   └── UsageError          no command line that can be run, whatever the servers hold
    ├── ConfigurationError      a setting, a prerequisite or a port is wrong; refuse to start
    ├── SchemaVersionError      a database's schema is missing, or newer than this code
    ├── Rejection               a command that breaks the rules (also a value of `writer.decide`)
    ├── DecodeError             an unreadable record; goes unchanged to the dead letters
    │   ├── MalformedRecord     not JSON, a field missing or of the wrong type
    │   ├── NullRecord          no value at all: a tombstone
    │   ├── UnexpectedChange    an update or a delete, which an append-only table cannot have
    │   ├── KeyMismatch         the record's key names another payment than its value
    │   ├── UnknownEvent        an event type or a state that this code does not know
    │   ├── NewerSchema         an event written by newer code than this
    │   └── BrokenInvariant     readable, but it contradicts itself: it cannot be folded
    │       └── UnbalancedPosting   its postings do not sum to zero
    ├── ServiceUnavailable      a server is down, refuses or gives no usable answer; retry may help
    ├── ProcessorError          a call to a payment service provider (PSP) gave no charge
    │   ├── NotSent             provably without effect; repeat it under the same key
    │   ├── OutcomeUnknown      it may have had its effect; ask for evidence before anything else
    │   └── ProcessorRefused    the request is wrong and would be refused again
    └── WriteRefused            a database refused a write; retry does not help

A message is one line, names the thing that is wrong and ends with what to do next. Foreign
exceptions are translated into these errors at one place per boundary.
"""


class PurserError(Exception):
    """Base of all errors raised deliberately; `str()` can be shown to a user.

    `exit_status` is the exit status of the command line if this error reaches it: 2, could not be
    done. 1 is a command's own, for what it found.
    """

    exit_status: int = 2


class InputError(PurserError):
    """Invalid input; the message names the field and what to do."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UsageError(InputError):
    """An argument or option that is wrong in itself; EX_USAGE of sysexits(3)."""

    exit_status = 64


class ConfigurationError(PurserError):
    """A setting, prerequisite, port or file that prevents the start."""


class SchemaVersionError(ConfigurationError):
    """A database schema that is missing, behind, or newer than this code."""


class Rejection(PurserError):  # noqa: N818 - the usual term for a refused command
    """A command that breaks the rules; nothing was appended.

    `code` is one of `schemas.rejections.RejectionCode`, `field` the command's invalid field,
    `problem` says what is wrong and what would be accepted.
    """

    def __init__(self, *, code: str, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem} [{code}]")
        self.code = code
        self.field = field
        self.problem = problem


class DecodeError(PurserError):
    """A record that cannot be decoded to an event; the whole record goes to the dead letters.

    `reason` is the stable, machine-readable name of the category.
    """

    reason: str = "malformed_record"


class MalformedRecord(DecodeError):  # noqa: N818 - named for what the record is
    """Not JSON, a missing field, a wrong type, a value out of range."""


class NullRecord(DecodeError):  # noqa: N818
    """A record without a value; this topic must not contain tombstones."""

    reason = "null_record"


class UnexpectedChange(DecodeError):  # noqa: N818
    """A change that is neither an insert nor a row of the initial snapshot."""

    reason = "unexpected_change"


class KeyMismatch(DecodeError):  # noqa: N818
    """A record whose key is not its payment's id, so that the order of events is lost."""

    reason = "key_mismatch"


class BrokenInvariant(DecodeError):  # noqa: N818
    """An event that is readable but contradicts itself, such as shares above the amount."""

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
    """A server is down, refuses access, or gives no usable answer."""


class WriteRefused(PurserError):  # noqa: N818
    """A database answered and refused a write; it would refuse the same write again."""


class ProcessorError(PurserError):
    """A call to a payment service provider (PSP) that gave no charge; a decline is none of these.

    `psp` is its name as in `payments`, `code` short and stable, for logs, metrics and events.
    The message never holds a key, a token or a body.
    """

    def __init__(self, psp: str, code: str, problem: str) -> None:
        super().__init__(f"{psp}: {problem} [{code}]")
        self.psp = psp
        self.code = code
        self.problem = problem


class NotSent(ProcessorError):  # noqa: N818 - named for what happened
    """Provably without effect: not connected, rate-limited, wrong credentials.

    It can be repeated under the same key, or asked of another PSP. `retry_after_seconds` is the
    PSP's wish, if it has one.
    """

    def __init__(
        self, psp: str, code: str, problem: str, *, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(psp, code, problem)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(ProcessorError):  # noqa: N818
    """The request may have had its effect: a time-out, a lost connection, a 5xx, no clear answer.

    Repeat it under the same key while the PSP remembers that, or look the charge up. Anything else
    could charge twice.
    """


class Unreadable(OutcomeUnknown):
    """An object of the PSP that this code cannot read; asking again gives the same object."""


class ProcessorRefused(ProcessorError):  # noqa: N818
    """The PSP refuses this request, or would; without effect, and repeating it does not help.

    `field` is the invalid field by our name, or None if none is to blame.
    """

    def __init__(self, psp: str, code: str, problem: str, *, field: str | None = None) -> None:
        super().__init__(psp, code, f"{field}: {problem}" if field else problem)
        self.field = field

"""The answers that are kept for Idempotency-Keys: repeated for 24 hours, and then forgotten.

https://docs.stripe.com/api/idempotent_requests: an answer is kept, whatever its status, once the
call was worked on. A call that is wrong in itself, or that meets another one with the same key, is
not kept.
"""

from dataclasses import dataclass
from hashlib import blake2b

from simulators.clock import DAY
from simulators.database import Database
from simulators.stripe.errors import StripeError

KEY_LENGTH = 255
KEPT_SECONDS = DAY
FORGET_AT_ONCE = 1000

TABLES = (
    """
    CREATE TABLE IF NOT EXISTS answers (
        n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL, digest BLOB NOT NULL,
        created REAL NOT NULL, status INTEGER NOT NULL, request TEXT NOT NULL, body BLOB NOT NULL
    )
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer that was given before."""

    status: int
    request_id: str
    body: bytes


def check_key(key: str) -> None:
    """Raise StripeError for a key that Stripe refuses."""
    if not 0 < len(key) <= KEY_LENGTH:
        raise StripeError(
            f"Idempotency keys must have 1 to {KEY_LENGTH} characters.", kind="idempotency_error"
        )


def digest_of(form: str) -> bytes:
    """What tells the parameters of two calls apart."""
    return blake2b("&".join(sorted(form.split("&"))).encode(), digest_size=16).digest()


class Answers:
    """The kept answers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        for statement in TABLES:
            database.execute(statement)

    def find(self, key: str, path: str, digest: bytes, now: float) -> Kept | None:
        """The answer to repeat, if the key is known.

        Raises:
            StripeError: the key was used for another call.
        """
        row = self._database.row(
            "SELECT path, digest, created, status, request, body FROM answers WHERE key = ?", (key,)
        )
        if row is None or row[2] <= now - KEPT_SECONDS:
            return None
        if row[0] != path:
            raise StripeError(
                "Keys for idempotent requests can only be used for the same endpoint they were"
                f" first used for ('{row[0]}' vs '{path}'). Try using a key other than '{key}' if"
                " you meant to execute a different request.",
                kind="idempotency_error",
            )
        if row[1] != digest:
            raise StripeError(
                "Keys for idempotent requests can only be used with the same parameters they were"
                f" first used with. Try using a key other than '{key}' if you meant to execute a"
                " different request.",
                kind="idempotency_error",
            )
        return Kept(status=row[3], request_id=row[4], body=row[5])

    def keep(self, key: str, path: str, digest: bytes, now: float, kept: Kept) -> None:
        """Keep an answer (in the transaction of the work)."""
        self._database.execute(
            "INSERT OR REPLACE INTO answers (key, path, digest, created, status, request, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, path, digest, now, kept.status, kept.request_id, kept.body),
        )

    def forget(self, now: float) -> None:
        """Remove some answers that are too old; the next round removes more."""
        self._database.execute(
            "DELETE FROM answers WHERE n IN (SELECT n FROM answers WHERE created <= ? AND n <="
            f" (SELECT min(n) FROM answers) + {FORGET_AT_ONCE})",
            (now - KEPT_SECONDS,),
        )

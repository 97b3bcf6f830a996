"""The numbered SQL files of this folder, in the order in which they are applied."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SchemaVersionError

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One SQL file: its name, such as `0001_payments`, its text and the SHA-256 of that text."""

    name: str
    sql: str
    checksum: str

    @classmethod
    def of(cls, name: str, sql: str) -> "Migration":
        """Return a migration with a checksum computed from its text."""
        return cls(name=name, sql=sql, checksum=hashlib.sha256(sql.encode()).hexdigest())


def load(folder: Path = Path(__file__).parent) -> tuple[Migration, ...]:
    """Return all migrations of a folder, ordered by number.

    Raises:
        ValueError: a file name is not like `0001_payments.sql`, or a number is missing or repeated.
    """
    migrations = []
    for number, file in enumerate(sorted(folder.glob("*.sql")), start=1):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or int(match.group(1)) != number:
            raise ValueError(f"{file.name}: migrations are numbered 0001_, 0002_, ... without gaps")
        migrations.append(Migration.of(file.stem, file.read_text(encoding="utf-8")))
    return tuple(migrations)


def still_to_apply(
    applied: Mapping[str, str],
    known: Sequence[Migration],
    *,
    server: str,
    folder: str,
    or_else: str = "",
) -> tuple[Migration, ...]:
    """Return the migrations of `folder` that are left to apply; `applied` is name -> checksum.

    `or_else` ends the error about an edited one: what else would help.

    Raises:
        SchemaVersionError: an applied migration is unknown here or was edited.
    """
    by_name = {migration.name: migration for migration in known}
    for name, checksum in applied.items():
        if name not in by_name:
            raise SchemaVersionError(
                f"{server}'s schema is newer than this code: it has {name}; run the version of"
                " Purser that introduced it, or a later one"
            )
        if by_name[name].checksum != checksum:
            raise SchemaVersionError(
                f"migration {name} was applied with other content than {folder} has now;"
                f" restore the file and put the change into a new migration{or_else}"
            )
    return tuple(migration for migration in known if migration.name not in applied)

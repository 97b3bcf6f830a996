"""The numbered SQL files of this folder, in the order in which they are applied."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

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

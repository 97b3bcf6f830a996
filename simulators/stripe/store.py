"""Stripe's objects in the database: one table per kind, the body as JSON beside what is asked for.

It knows no rule about money. A body is decoded only where somebody looks into it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from simulators.database import Database
from simulators.stripe import ids
from simulators.stripe.errors import no_such
from simulators.stripe.kinds import BANK_PREFIXES, KINDS, Kind

Body = dict[str, Any]
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict)
encode = _encoder.encode

METADATA = """
CREATE TABLE IF NOT EXISTS intent_metadata (
    name TEXT NOT NULL, value TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (name, value, n)
) WITHOUT ROWID
"""
_SALT = "stripe_id_salt"


def decode(body: bytes) -> Body:
    """A body as it was written."""
    return _decoder.decode(body)


class Store:
    """Objects by id; every method works within the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        salt = database.meta(_SALT)
        if salt is None:
            salt = ids.new_salt()
            database.keep_meta(_SALT, salt)
        self.salt = salt
        database.execute(METADATA)
        self._next: dict[str, int] = {}
        self._insert: dict[str, str] = {}
        self._update: dict[str, str] = {}
        for kind in KINDS:
            self._create(kind)

    def _create(self, kind: Kind) -> None:
        columns = "".join(f", {column}" for column in kind.columns)
        self.database.execute(
            f"CREATE TABLE IF NOT EXISTS {kind.table} (n INTEGER PRIMARY KEY,"
            f" id TEXT NOT NULL, created INTEGER NOT NULL, body BLOB NOT NULL{columns})"
        )
        for parts in kind.indexes:
            optional = " WHERE customer IS NOT NULL" if parts == ("customer",) else ""
            self.database.execute(
                f"CREATE INDEX IF NOT EXISTS {kind.table}_{'_'.join(parts)}"
                f" ON {kind.table} ({', '.join(parts)}){optional}"
            )
        self._next[kind.name] = self.number_next(kind.table)
        marks = ", ?" * len(kind.columns)
        self._insert[kind.name] = (
            f"INSERT INTO {kind.table} (n, id, created, body{columns}) VALUES (?, ?, ?, ?{marks})"
        )
        values = "".join(f", {column} = ?" for column in kind.filters)
        self._update[kind.name] = f"UPDATE {kind.table} SET body = ?{values} WHERE n = ?"

    def number_next(self, table: str) -> int:
        """The number of a table's next row."""
        return int(self.database.row(f"SELECT coalesce(max(n), 0) FROM {table}")[0]) + 1

    def new_id(self, kind: Kind, *, bank: bool = False) -> str:
        """The id of an object that is about to be inserted; each call takes one."""
        number = self._next[kind.name]
        self._next[kind.name] = number + 1
        prefix = BANK_PREFIXES[kind.name] if bank else kind.prefix
        return ids.make(prefix, self.salt, number)

    def insert(self, kind: Kind, body: Body, **hidden: Any) -> None:
        """Keep a new object, whose id was given by `new_id`."""
        number = self.number_of(kind, body["id"])
        if number is None:  # an id from elsewhere
            number = self._next[kind.name]
            self._next[kind.name] = number + 1
        values = [body.get(name) for name in kind.filters]
        values += [hidden.get(name) for name in kind.hidden]
        self.database.execute(
            self._insert[kind.name], (number, body["id"], body["created"], encode(body), *values)
        )

    def save(self, kind: Kind, body: Body) -> None:
        """Keep an object's present state; hidden columns stay."""
        values = [body.get(name) for name in kind.filters]
        self.database.execute(
            self._update[kind.name], (encode(body), *values, self.number_of(kind, body["id"]))
        )

    def hide(self, kind: Kind, identity: str, **hidden: Any) -> None:
        """Change hidden columns."""
        names = ", ".join(f"{name} = ?" for name in hidden)
        self.database.execute(
            f"UPDATE {kind.table} SET {names} WHERE n = ?",
            (*hidden.values(), self.number_of(kind, identity)),
        )

    def delete(self, kind: Kind, identity: str) -> None:
        """Forget an object."""
        self.database.execute(
            f"DELETE FROM {kind.table} WHERE n = ?", (self.number_of(kind, identity),)
        )

    def find(self, kind: Kind, identity: str) -> Body | None:
        """An object, or None."""
        found = self.database.row(
            f"SELECT body FROM {kind.table} WHERE n = ? AND id = ?",
            (self.number_of(kind, identity), identity),
        )
        return None if found is None else decode(found[0])

    def get(
        self, kind: Kind, identity: str, *, param: str | None = None, status: int = 404
    ) -> Body:
        """An object; raises StripeError if there is none."""
        body = self.find(kind, identity)
        if body is None:
            raise no_such(kind.name, identity, param or kind.param, status=status)
        return body

    def hidden(self, kind: Kind, identity: str, name: str) -> Any:
        """The value of a hidden column; None if there is no such object."""
        found = self.database.row(
            f"SELECT {name} FROM {kind.table} WHERE n = ? AND id = ?",
            (self.number_of(kind, identity), identity),
        )
        return None if found is None else found[0]

    def where(
        self, kind: Kind, values: Mapping[str, Any], *, newest_first: bool = True
    ) -> Iterator[Body]:
        """The objects with these values."""
        condition = " AND ".join(f"{name} = ?" for name in values) or "1"
        order = "DESC" if newest_first else "ASC"
        for (body,) in self.database.rows(
            f"SELECT body FROM {kind.table} WHERE {condition} ORDER BY n {order}",
            tuple(values.values()),
        ):
            yield decode(body)

    def keep_metadata(self, identity: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Let search find a payment intent by its metadata."""
        if not new and not old:
            return
        number = ids.number_in(identity, self.salt)
        for name, value in old.items():
            if new.get(name) != value:
                self.database.execute(
                    "DELETE FROM intent_metadata WHERE name = ? AND value = ? AND n = ?",
                    (name, value, number),
                )
        for name, value in new.items():
            if old.get(name) != value:
                self.database.execute(
                    "INSERT OR IGNORE INTO intent_metadata VALUES (?, ?, ?)", (name, value, number)
                )

    def page(
        self, kind: Kind, conditions: Sequence[str], values: Sequence[Any], order: str, limit: int
    ) -> list[tuple[int, bytes]]:
        """Numbers and bodies of a part of a table."""
        condition = " AND ".join(conditions) or "1"
        return self.database.rows(
            f"SELECT n, body FROM {kind.table} WHERE {condition} ORDER BY n {order} LIMIT {limit}",
            values,
        )

    def number_of(self, kind: Kind, identity: str) -> int | None:
        """The number of an object's row: it is in the id, or the id is not of these books."""
        number = ids.number_in(identity, self.salt)
        if number is None and kind.own_ids:
            found = self.database.row(f"SELECT n FROM {kind.table} WHERE id = ?", (identity,))
            return None if found is None else int(found[0])
        return number

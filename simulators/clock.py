"""The simulators' clock: real time plus what was advanced, and the work that is due at a time.

Time never goes back, also not over a restart: the offset is kept with the books.
"""

import time
from collections.abc import Callable

from simulators.database import Database

ADVANCE_SECONDS_MOST = 10 * 366 * 86_400
DAY = 86_400
_OFFSET = "clock_offset_seconds"

TASKS = """
CREATE TABLE IF NOT EXISTS tasks (
    n INTEGER PRIMARY KEY, due REAL NOT NULL, name TEXT NOT NULL, subject TEXT NOT NULL
)
"""
TASKS_BY_TIME = "CREATE INDEX IF NOT EXISTS tasks_by_time ON tasks (due, n)"


class Clock:
    """The time in the simulators, in Unix seconds."""

    def __init__(self, database: Database, real: Callable[[], float] = time.time) -> None:
        self._database = database
        self._real = real
        self._latest = 0.0
        self.offset_seconds = float(database.meta(_OFFSET) or 0)

    def now(self) -> float:
        """The time; never earlier than the last answer."""
        self._latest = max(self._latest, self._real() + self.offset_seconds)
        return self._latest

    def move_to(self, moment: float) -> None:
        """Let time pass until a moment, if it is in the future (call it in a transaction)."""
        ahead = moment - self.now()
        if ahead > 0:
            self.offset_seconds += ahead
            self._latest = moment
            self._database.keep_meta(_OFFSET, repr(self.offset_seconds))

    def not_before(self, moment: float) -> None:
        """Say that this time has been seen in the books."""
        self._latest = max(self._latest, moment)


class Tasks:
    """What will happen at a time: a bank's answer, a dispute, a day's payout."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(TASKS)
        database.execute(TASKS_BY_TIME)
        self.on_earlier: Callable[[], None] = lambda: None
        self._next = self.next_due()

    def add(self, name: str, subject: str, due: float) -> None:
        """Let a task run at a time."""
        self._database.execute(
            "INSERT INTO tasks (due, name, subject) VALUES (?, ?, ?)", (due, name, subject)
        )
        if self._next is None or due < self._next:
            self._next = due
            self.on_earlier()

    def next_due(self) -> float | None:
        """The time of the earliest task."""
        found = self._database.row("SELECT due FROM tasks ORDER BY due, n LIMIT 1")
        self._next = None if found is None else float(found[0])
        return self._next

    def take(self, until: float) -> tuple[str, str, float] | None:
        """Remove the earliest task that is due: its name, subject and time (in a transaction)."""
        found = self._database.row(
            "SELECT n, name, subject, due FROM tasks WHERE due <= ? ORDER BY due, n LIMIT 1",
            (until,),
        )
        if found is None:
            return None
        number, name, subject, due = found
        self._database.execute("DELETE FROM tasks WHERE n = ?", (number,))
        return str(name), str(subject), float(due)

    def known(self, name: str) -> bool:
        """Whether a task of that name waits."""
        return bool(self._database.row("SELECT 1 FROM tasks WHERE name = ? LIMIT 1", (name,)))

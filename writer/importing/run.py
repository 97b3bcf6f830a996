"""Imports a file of recorded history: read, decide, append, and count the results.

Deciding the next batch and appending the previous one run in parallel: one waits for the CPU, the
other for PostgreSQL. A line is imported as a whole, or left out as a whole and reported. After an
interruption at any point, running the import again resumes it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from schemas.errors import InputError
from schemas.ids import PaymentId
from writer.importing.bulk import BadLine, Decided, Outcome, Target
from writer.importing.history import decide_line
from writer.importing.lines import Line

EVENTS_PER_BATCH = 5_000
"""About the number of rows per transaction. Large enough to make the fixed cost small, small enough
to report progress several times a second and to repeat little after an interruption.
"""


class Importer:
    """One import; `total` counts what is certainly stored, even after an interruption."""

    def __init__(
        self,
        target: Target,
        *,
        psp: str,
        on_bad_line: Callable[[BadLine], None],
        on_progress: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self.total = Outcome()
        self.rejected = 0
        self._target = target
        self._psp = psp
        self._on_bad_line = on_bad_line
        self._on_progress = on_progress
        self._pending: Future[Outcome] | None = None

    def run(self, lines: Iterable[Line]) -> None:
        """Import all lines.

        Raises:
            ServiceUnavailable, ConfigurationError: the store cannot be used; earlier batches are
                stored.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="append") as executor:
            try:
                for batch in self._batches(lines):
                    self._finish()
                    self._pending = executor.submit(self._target.write, batch)
            finally:
                self._finish()

    def _batches(self, lines: Iterable[Line]) -> Iterable[list[Decided]]:
        """Yield batches of decided lines; a payment that occurs again waits for the next batch."""
        batch: list[Decided] = []
        payment_ids: set[PaymentId] = set()
        events = 0
        for line in lines:
            if (decided := self._decide(line)) is None:
                continue
            if events >= EVENTS_PER_BATCH or decided.payment_id in payment_ids:
                yield batch
                batch, payment_ids, events = [], set(), 0
            batch.append(decided)
            payment_ids.add(decided.payment_id)
            events += len(decided.rows)
        if batch:
            yield batch

    def _decide(self, line: Line) -> Decided | None:
        try:
            if line.problem:
                raise InputError("line", line.problem)
            return Decided(line, decide_line(line.raw, psp=self._psp))
        except InputError as error:
            self._reject(BadLine(line, error))
            return None

    def _finish(self) -> None:
        """Wait for the batch that is being appended, if any, and count it."""
        if self._pending is None:
            return
        outcome = self._pending.result()
        self._pending = None
        for bad_line in outcome.bad:
            self._reject(bad_line)
        outcome.bad.clear()
        self.total.add(outcome)
        self._on_progress(self.total)

    def _reject(self, bad_line: BadLine) -> None:
        self.rejected += 1
        self._on_bad_line(bad_line)

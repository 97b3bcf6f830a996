"""A simulated analyst who queries the views in a loop and records every impossible answer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from sinks.client import connect
from sinks.settings import ClickHouseSettings

REST_SECONDS = 0.1

_UNBALANCED = """
SELECT currency, sum(amount_minor) AS total FROM ledger_entries
GROUP BY currency HAVING total != 0
"""
_HISTORY = (
    "SELECT count(), sum(net_minor) FROM seller_revenue WHERE day < {day:Date}",
    "SELECT count(), sum(captured_minor) FROM buyer_orders WHERE updated_at < {day:Date}",
    "SELECT count(), sum(amount_minor) FROM payment_events WHERE occurred_at < {day:Date}",
    "SELECT count(), sum(abs(amount_minor)) FROM ledger_entries WHERE day < {day:Date}",
)


@dataclass
class Analyst:
    """Checks that the books balance and that the totals of the days before `day` (UTC) stay.

    Those days are over, so their totals must be the same at every moment, whatever is rebuilt.
    """

    clickhouse_url: str
    day: str
    rest_seconds: float = REST_SECONDS
    wrong: list[str] = field(default_factory=list)
    answers: int = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Query while the body runs; re-raise a query's error after the body has ended."""
        stop = threading.Event()
        client = connect(ClickHouseSettings.load(self.clickhouse_url))
        before = self._history(client)
        failed: list[Exception] = []

        def ask() -> None:
            while not stop.is_set():
                try:
                    self._ask(client, before)
                except Exception as error:  # noqa: BLE001 - raised again in the other thread
                    failed.append(error)
                    return
                stop.wait(self.rest_seconds)

        thread = threading.Thread(target=ask, name="analyst")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            client.close()
        if failed:
            raise failed[0]

    def _ask(self, client: Client, before: list[Any]) -> None:
        if unbalanced := client.query(_UNBALANCED).result_rows:
            self.wrong.append(f"the trial balance is off: {unbalanced}")
        if (now := self._history(client)) != before:
            self.wrong.append(f"history was {before}, is {now}")
        self.answers += 1

    def _history(self, client: Client) -> list[Any]:
        return [
            tuple(client.query(query, parameters={"day": self.day}).result_rows[0])
            for query in _HISTORY
        ]

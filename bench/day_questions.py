"""What an analyst asks of the current day while payments arrive, and how long each answer takes."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date

from clickhouse_connect.driver.client import Client

from bench.day_load import SELLER, SELLERS
from bench.figures import Figure
from sinks.client import connect
from sinks.queries import trial_balance
from sinks.settings import ClickHouseSettings

ROUND_SECONDS = 3.0
"""From the beginning of one round of questions to that of the next, if the answers take less."""

Ask = Callable[[Client], object]

_TOTALS = (
    *("gross_minor", "refunds_minor", "chargebacks_minor", "commission_minor"),
    *("logistics_fee_minor", "net_minor", "pending_delta_minor", "available_delta_minor"),
    *("capture_count", "refund_count", "chargeback_count"),
)
_DAY = f"SELECT seller_id, currency, day, {', '.join(_TOTALS)} FROM seller_revenue"
_SUMS = f"SELECT currency, {', '.join(f'sum({name})' for name in _TOTALS)} FROM seller_revenue"
_ALL_TODAY = f"{_DAY} WHERE day = {{today:Date}}"
_TODAY = f"{_DAY} WHERE seller_id = {{seller:String}} AND day = {{today:Date}}"
_SINCE = (
    f"{_SUMS} WHERE seller_id = {{seller:String}} AND day BETWEEN {{since:Date}} AND {{today:Date}}"
    " GROUP BY currency"
)


def questions_of(today: date) -> Mapping[str, Ask]:
    """The questions by name; a small seller is the one with the highest number."""

    def asks(sql: str, **values: object) -> Ask:
        parameters = {"today": today, **values}
        return lambda client: client.query(sql, parameters=parameters).result_rows

    found = {"all sellers, day": asks(_ALL_TODAY)}
    for size, number in (("big", 0), ("small", SELLERS - 1)):
        seller = SELLER % number
        month, year = today.replace(day=1), today.replace(month=1, day=1)
        found |= {
            f"{size} seller, day": asks(_TODAY, seller=seller),
            f"{size} seller, month": asks(_SINCE, seller=seller, since=month),
            f"{size} seller, year": asks(_SINCE, seller=seller, since=year),
        }
    return found | {"trial balance": trial_balance}


@dataclass(slots=True)
class Questioner:
    """Asks all questions again and again, one after the other, as an analyst may: reading only.

    `each_round` is called before each round. `milliseconds` are those of each answer.
    """

    url: str
    questions: Mapping[str, Ask]
    each_round: Callable[[], None] = lambda: None
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    def ask_all(self, client: Client) -> None:
        """Ask each question once."""
        for name, ask in self.questions.items():
            started = time.perf_counter()
            ask(client)
            took = 1000 * (time.perf_counter() - started)
            self.milliseconds.setdefault(name, []).append(took)

    @contextmanager
    def asking(self, begin: threading.Event) -> Iterator[None]:
        """Ask while the body runs, once `begin` is set; raise a question's error afterwards."""
        stop = threading.Event()
        failed: list[Exception] = []

        def ask() -> None:
            try:
                with closing(connect(ClickHouseSettings.load(self.url))) as client:
                    self.ask_all(client)  # once, so that the first answer is like the others
                    self.milliseconds.clear()
                    begin.wait()
                    while not stop.is_set():
                        started = time.monotonic()
                        self.each_round()
                        self.ask_all(client)
                        stop.wait(max(0.0, ROUND_SECONDS - (time.monotonic() - started)))
            except Exception as error:  # noqa: BLE001 - raised again in the other thread
                failed.append(error)

        thread = threading.Thread(target=ask, name="questioner")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            begin.set()
            thread.join()
        if failed:
            raise failed[0]


def figures_of(section: str, milliseconds: Mapping[str, Sequence[float]]) -> list[Figure]:
    """The median and the worst of each question."""
    return [
        Figure(section=section, name=f"{name}, {what}", value=value, unit="ms")
        for name, took in milliseconds.items()
        for what, value in (("median", statistics.median(took)), ("worst", max(took)))
    ]

"""The views worker rolls totals up in the background, and an error never stops it."""

import asyncio
import logging
from typing import Any

import pytest

from schemas.clickhouse.totals import STARTS
from schemas.errors import ServiceUnavailable
from sinks.roll_up import Rolled
from sinks.settings import ClickHouseSettings
from streams.views import rolling
from streams.views.metrics import ViewsMetrics
from streams.views.rolling import Rolling
from tests.waiting import wait_until_async

SETTINGS = ClickHouseSettings.load("http://purser:secret@127.0.0.1:1/purser")


class FakeRollUp:
    """Fails as told, then rolls one minute up at each step."""

    failures = 0
    steps = 0

    def __init__(self, _settings: ClickHouseSettings) -> None:
        pass

    def step(self) -> Rolled:
        cls = type(self)
        cls.steps += 1
        if cls.failures:
            cls.failures -= 1
            raise ServiceUnavailable("ClickHouse is away")
        return Rolled(minutes=1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeRollUp]:
    class Fresh(FakeRollUp):
        pass

    monkeypatch.setattr(rolling, "RollUp", Fresh)
    return Fresh


async def run_until(subject: Rolling, condition: Any) -> None:
    task = asyncio.create_task(subject.run())
    try:
        await wait_until_async(condition, "it has rolled up", seconds=10)
    finally:
        task.cancel()


def test_it_goes_on_after_an_error_and_says_so(
    fake: type[FakeRollUp], caplog: pytest.LogCaptureFixture
) -> None:
    fake.failures = 2
    seen: list[Rolled] = []
    subject = Rolling(SETTINGS, 0.001, lambda: True, seen.append)
    with caplog.at_level(logging.WARNING, "purser.views"):
        asyncio.run(run_until(subject, lambda: len(seen) >= 2))
    assert [each.message for each in caplog.records] == [
        "totals could not be rolled up, queries are slower meanwhile: ClickHouse is away"
    ] * 2


def test_only_the_worker_whose_turn_it_is_rolls_up(fake: type[FakeRollUp]) -> None:
    asked: list[bool] = []

    def is_mine() -> bool:
        asked.append(True)
        return False

    asyncio.run(run_until(Rolling(SETTINGS, 0.001, is_mine, print), lambda: len(asked) >= 3))
    assert fake.steps == 0


def test_what_was_rolled_up_is_counted_by_level() -> None:
    metrics = ViewsMetrics()
    metrics.rolled(Rolled(minutes=60, ten_minutes=5, hours=4))
    metrics.rolled(Rolled(minutes=6, six_hours=3, days=2, months=1))

    def counted(level: str) -> float:
        value = metrics.registry.get_sample_value(
            "purser_views_rolled_up_buckets_total", {"level": level}
        )
        assert value is not None
        return value

    assert [counted(level) for level in STARTS] == [66, 5, 4, 3, 2, 1]

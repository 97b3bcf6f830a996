"""A redrive that dies anywhere is healed by running it again."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from schemas.views import PAYMENT_EVENTS
from tests.events import records
from tests.integration.dead_letters.support import Parked, as_if_never_failed, purser
from tests.integration.views.proxy import CuttingProxy
from tests.strategies import history

pytestmark = pytest.mark.integration

PURSER = "from cli.main import main; main()"
CHECKOUT = Path(__file__).resolve().parents[3]
HISTORY = records(history(Random(12), payments=20, payouts=4, steps=20))
DEAD = HISTORY[::3]


@pytest.mark.parametrize("whole", [False, True], ids=["half-sent", "unanswered"])
@pytest.mark.parametrize(
    "table", ["ledger_entries", "payment_events", "totals", "dead_letter_redrives"]
)
def test_killed_in_the_middle_of_an_insert(parked: Parked, table: str, whole: bool) -> None:
    parked.flow([record for record in HISTORY if record not in DEAD])
    parked.park(DEAD)
    parts = urlsplit(parked.url)
    assert parts.port is not None
    with CuttingProxy(parts.port) as proxy:
        netloc = parts.netloc.replace(f":{parts.port}", f":{proxy.port}")
        process = subprocess.Popen(
            [sys.executable, "-c", PURSER, "dead-letters", "redrive", "--all"],
            cwd=CHECKOUT,
            env=os.environ | {"PURSER_CLICKHOUSE_URL": parts._replace(netloc=netloc).geturl()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        proxy.cut_next_insert(table, whole=whole, action=process.kill)
        assert process.wait(120) == -9
        assert proxy.cuts == 1
    if not (table == "dead_letter_redrives" and whole):
        assert set(parked.states().values()) == {"open"}
        assert not parked.notes()
    if table == "ledger_entries":
        assert len(parked.rows(PAYMENT_EVENTS)) < len(HISTORY)
    assert purser("redrive", "--all").status == 0
    assert parked.views() == as_if_never_failed(HISTORY)
    assert set(parked.states().values()) == {"redriven"}


def test_a_server_that_dies_half_way_is_named_and_the_next_run_goes_on(
    parked: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked.flow([record for record in HISTORY if record not in DEAD])
    parked.park(DEAD)
    parts = urlsplit(parked.url)
    with CuttingProxy(parts.port or 0) as proxy:
        netloc = parts.netloc.replace(f":{parts.port}", f":{proxy.port}")
        monkeypatch.setenv("PURSER_CLICKHOUSE_URL", parts._replace(netloc=netloc).geturl())
        proxy.cut_next_insert("payment_events", whole=False, action=lambda: None)
        answer = purser("redrive", "--all")
    assert answer.status == 2
    assert f"0 of {len(DEAD)} were redriven; run it again to continue" in answer.errors
    assert f"purser: ClickHouse at {parts.hostname}:{proxy.port}" in answer.errors
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", parked.url)
    assert purser("redrive", "--all").status == 0
    assert parked.views() == as_if_never_failed(HISTORY)

"""Poison is parked, a later release redrives what it understands, and the rest stays visible."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sinks.migrate import migrate
from tests.envelopes import some_events
from tests.integration.views.poison import POISON
from tests.integration.views.support import CHECKOUT, PATIENCE_SECONDS, VIEWS, Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

CURABLE = [poison for poison in POISON if poison.curable]
INCURABLE = [poison for poison in POISON if not poison.curable]
NEWER = "tests.integration.views.newer_code"


def dead_letters(pipeline: Pipeline, *arguments: str, newer: bool = False) -> tuple[int, bytes]:
    """Exit status and output of `purser dead-letters …`, of this code or of a later release."""
    program = [NEWER, "cli.main"] if newer else ["cli.main"]
    answer = subprocess.run(
        [sys.executable, "-m", *program, "dead-letters", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"PURSER_CLICKHOUSE_URL": pipeline.clickhouse_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert b"Traceback" not in answer.stderr, answer.stderr
    return answer.returncode, answer.stdout


def listed(pipeline: Pipeline, state: str) -> dict[str, Any]:
    """Position -> what the list says of it."""
    status, output = dead_letters(pipeline, "list", "--json", "--limit", "1000", "--state", state)
    assert status == 0
    return {each["position"]: each for each in json.loads(output)["dead_letters"]}


def dump(pipeline: Pipeline, database: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every view, row by row and column by column, positions and times included."""
    return {
        table.name: pipeline.query(
            f"SELECT {', '.join(table.columns)} FROM {database}.{table.name} ORDER BY ALL"
        )
        for table in VIEWS
    }


@pytest.fixture
def as_if_newer_from_the_start(pipeline: Pipeline) -> Iterator[str]:
    """The name of a database for what a later release would have made of the same topic."""
    name = f"{pipeline.name}_newer"
    migrate(pipeline.clickhouse_url.replace(f"/{pipeline.name}", f"/{name}"))
    yield name
    pipeline.query(f"DROP DATABASE {name}")


def test_a_later_release_redrives_what_it_understands_as_if_it_had_read_it_at_once(
    pipeline: Pipeline, as_if_newer_from_the_start: str
) -> None:
    other = as_if_newer_from_the_start
    pipeline.send_poisoned(some_events(seed=30, count=600))
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    before = dump(pipeline, pipeline.name)
    assert len(listed(pipeline, "open")) == len(POISON)

    # The present code can do nothing, and says so.
    status, output = dead_letters(pipeline, "redrive", "--all", "--json")
    assert status == 1
    outcome = json.loads(output)["outcome"]
    assert (outcome["redriven"], outcome["still_dead"]) == (0, len(POISON))
    assert dump(pipeline, pipeline.name) == before
    assert len(listed(pipeline, "open")) == len(POISON)

    # A later release shows what it would do, does it, and leaves what nobody can fold.
    status, output = dead_letters(pipeline, "redrive", "--all", "--dry-run", "--json", newer=True)
    assert status == 1
    assert json.loads(output)["plan"]["events"] == {"captured": 3, "gift_wrapped": 1}
    assert dump(pipeline, pipeline.name) == before
    status, output = dead_letters(pipeline, "redrive", "--all", "--json", newer=True)
    assert status == 1
    outcome = json.loads(output)["outcome"]
    assert (outcome["redriven"], outcome["still_dead"]) == (len(CURABLE), len(INCURABLE))
    redriven = listed(pipeline, "redriven")
    assert sorted(each["reason"] for each in redriven.values()) == sorted(
        poison.reason for poison in CURABLE
    )
    assert len(listed(pipeline, "open")) == len(INCURABLE)
    after = dump(pipeline, pipeline.name)

    # Twice changes nothing.
    assert dead_letters(pipeline, "redrive", *redriven, newer=True)[0] == 0
    assert dump(pipeline, pipeline.name) == after

    # The same release reading the same topic from its start makes the same rows, to the offset.
    pipeline.start_worker(
        module=f"{NEWER} streams.views.worker",
        clickhouse_url=pipeline.clickhouse_url.replace(f"/{pipeline.name}", f"/{other}"),
        consumer_group=other,
        dead_letters_topic=f"{other}.dead",
    )
    count = len(pipeline.sent) + len(CURABLE)
    wait_until(
        lambda: len(dump(pipeline, other)["payment_events"]) >= count,
        "the newer release has read all",
        seconds=PATIENCE_SECONDS,
        seen=pipeline.workers[-1].output,
    )
    wait_until(lambda: dump(pipeline, other) == after, "the same rows")
    assert len(after["payment_events"]) == count


def test_the_bytes_that_an_operator_gets_are_the_bytes_that_came(pipeline: Pipeline) -> None:
    pipeline.send_poisoned(some_events(seed=31, count=31))
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    by_size = {each["bytes"]: each["position"] for each in listed(pipeline, "open").values()}
    for kind in ("newer and huge", "text that is not UTF-8"):
        [poison] = [poison for poison in POISON if poison.kind == kind]
        where = by_size[len(poison.key or b"") + len(poison.value or b"")]
        assert dead_letters(pipeline, "show", where, "--raw") == (0, poison.value)
        assert dead_letters(pipeline, "show", where, "--raw-key") == (0, poison.key)

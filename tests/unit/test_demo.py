"""What the demo says about its live traffic."""

import io

import pytest
from rich.console import Console

from cli.demo import exit_status
from cli.demo_traffic import Live, summarize
from marketplace.api_client import Answer
from marketplace.groups import GroupSizes


def said(live: Live) -> str:
    output = io.StringIO()
    summarize(Console(file=output, width=200), live)
    return output.getvalue()


def test_the_summary_has_latencies_statuses_repeats_groups_and_freshness() -> None:
    live = Live(freshness=[0.2], groups=GroupSizes.of({1: 3, 5: 1}))
    live.shop.purchases = 3
    api = live.shop.api
    api.answers.update({("POST /v1/payments", 201): 2, ("POST /v1/payments", 402): 1})
    api.seconds["POST /v1/payments"] = [0.1, 0.1, 0.4]
    api.resent["hung up"] = 1
    api.compare("again", Answer(status=201, body={}), Answer(status=201, body={}))
    lines = said(live).splitlines()
    assert lines[0] == "live traffic   3 purchases, 3 requests"
    assert "statuses       201 × 2, 402 × 1" in lines
    assert "               POST /v1/payments      p50 100 ms, p99 400 ms" in lines
    assert "sent again     hung up × 1" in lines
    assert "repeated       0 answers were repeats; of 1 compared with the first 0 differed" in lines
    assert (
        "groups         commands that came together were appended together: 4 groups of 2.0"
        " commands on average; half had at most 1, 99 % at most 5, the largest 5"
    ) in lines
    assert lines[-1].startswith("freshness      p50 200 ms, p99 200 ms")


def test_an_answer_that_differs_is_shown() -> None:
    live = Live()
    first, again = Answer(status=201, body={"id": 1}), Answer(status=201, body={"id": 2})
    live.shop.api.compare("POST /v1/payments again", first, again)
    assert "DIFFERENT  POST /v1/payments again: first (201, {'id': 1})" in said(live)


@pytest.mark.parametrize(
    ("verify", "books", "different", "expected"),
    [
        (0, 0, False, 0),
        (0, 0, True, 1),
        (0, 2, False, 2),
        (2, 0, False, 2),
        (1, 2, False, 1),  # a proven difference is not hidden by an open question
        (2, 1, False, 1),
        (2, 2, True, 1),
    ],
)
def test_a_proven_difference_decides_the_exit_status(
    verify: int, books: int, different: bool, expected: int
) -> None:
    assert exit_status(verify, books, different=different) == expected

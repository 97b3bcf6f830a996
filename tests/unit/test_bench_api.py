"""What the benchmark of the API counts, and the payments that it sends."""

from collections import Counter

import pytest

from bench.api import OF_VARIANT
from bench.api_load import VARIANTS, purchases, result_of
from bench.statements import kinds_of, per_payment
from marketplace.purchases import Post
from marketplace.shopping import ShoppingReport

LOG = """\
2026-05-31 12:00:00.000 UTC [41] purser_writer@purser LOG:  execute _pg3_0: INSERT INTO payments
\tVALUES ($1)
2026-05-31 12:00:00.001 UTC [41] purser_writer@purser DETAIL:  Parameters: $1 = 'SELECT'
2026-05-31 12:00:00.002 UTC [42] purser_writer@purser LOG:  statement: BEGIN
2026-05-31 12:00:00.003 UTC [42] purser_writer@purser LOG:  execute <unnamed>: select 1
2026-05-31 12:00:00.004 UTC [42] purser_writer@purser LOG:  statement: COMMIT
2026-05-31 12:00:00.005 UTC [43] @ LOG:  checkpoint starting: time
"""


def test_statements_are_counted_by_backend_and_kind() -> None:
    assert kinds_of(LOG.splitlines()) == {
        41: Counter({"INSERT": 1}),
        42: Counter({"BEGIN": 1, "SELECT": 1, "COMMIT": 1}),
    }


def test_counts_are_per_payment() -> None:
    assert per_payment(Counter({"INSERT": 3, "COMMIT": 6}), 3) == {"COMMIT": 2.0, "INSERT": 1.0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_sends_what_its_name_says(variant: str) -> None:
    sent = purchases(variant, rate=20, seconds=5, seed=1)
    assert 60 < len(sent) < 140
    for purchase in sent:
        posts = [purchase.opening, *(step for step in purchase.steps if isinstance(step, Post))]
        operations = tuple(post.operation for post in posts)
        assert operations == OF_VARIANT.get(variant, ("POST /payments/init",))
        assert all(post.clicks == 1 and post.hang_up_seconds is None for post in posts)


def test_a_result_has_statuses_and_quantiles() -> None:
    report = ShoppingReport(purchases=3, seconds=1.5)
    report.api.answers.update({("create", 201): 2, ("create", 402): 1})
    report.api.seconds["create"] = [0.1, 0.2, 0.3]
    result = result_of(report, 0.5)
    assert result["statuses"] == {"201": 2, "402": 1}
    assert result["latency"] == {"create": {"p50": 0.2, "p95": 0.3, "p99": 0.3, "max": 0.3}}

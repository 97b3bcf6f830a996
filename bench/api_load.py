"""A process that pays through the HTTP API at a fixed rate, whatever the answers take.

`python -m bench.api_load --rate 208 --seconds 60` prints a line when it begins to measure, and then
one JSON object. The load is open: a payment is sent when it is due and its latency counts from
then, so a service that falls behind cannot slow the load that measures it. All requests are made
before the clock starts.

`--closed N` sends as fast as N connections get answers instead, to find what a process can do.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import uvloop

from marketplace.api_client import ApiClient
from marketplace.browser import Browser
from marketplace.freshness import quantile
from marketplace.purchases import PAYMENT, Purchase
from marketplace.shop import Plan, Shop, ShopSettings, by_the_older_names
from marketplace.shopping import Shopping, ShoppingReport
from schemas.gc_tuning import tune_gc
from schemas.runtime import entry_point

TOKEN = "PURSER_API_TOKEN"
MEASURING = "measuring"
"""The line printed when measuring begins, so that the reader can take the servers' CPU time."""
DRAIN_SECONDS = 2.0
WARM_UP_SEED = 1_000_000
AT_ONCE_SECONDS = 0.001
"""Mean pause between two requests of one payment."""
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


def charged(plan: Plan) -> None:
    """One direct automatic charge."""
    plan.create(method="card", payment_token="pm_card_visa")


def confirmed(plan: Plan) -> None:
    """`init`, then `confirm`."""
    by_the_older_names(plan)


def initiated(plan: Plan) -> None:
    """`init` alone: a create that asks no PSP."""
    by_the_older_names(plan)
    plan.steps.clear()


VARIANTS = {"direct": charged, "confirm": confirmed, "init": initiated}


def purchases(variant: str, rate: float, seconds: float, seed: int) -> list[Purchase]:
    """All purchases of one run; the same seed at another time gives other keys."""
    settings = ShopSettings(
        payments_per_second=rate,
        mean_step_seconds=AT_ONCE_SECONDS,
        double_click_share=0,
        hang_up_share=0,
        asks_again_share=0,
    )
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    shop = Shop(seed, settings, run=run, fates={VARIANTS[variant]: 1})
    return list(shop.purchases(seconds))


async def open_loop(url: str, token: str, due: Sequence[Purchase]) -> ShoppingReport:
    """Send every purchase when it is due and wait for all answers."""
    report = ShoppingReport()
    async with ApiClient(url, token, report.api) as api, Browser() as browser:
        await Shopping(api, browser, report).run(due, finish=True)
    return report


async def closed_loop(
    url: str, token: str, due: Iterator[Purchase], connections: int, seconds: float
) -> ShoppingReport:
    """Send first requests as fast as they are answered, `connections` at a time."""
    report = ShoppingReport()
    started = time.monotonic()

    async def send(api: ApiClient) -> None:
        while time.monotonic() - started < seconds and (purchase := next(due, None)):
            post = purchase.opening
            report.purchases += 1
            await api.post(post.operation, *post.about(PAYMENT), post.key)

    async with ApiClient(url, token, report.api) as api, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(send(api))
    report.seconds = time.monotonic() - started
    return report


def result_of(report: ShoppingReport, cpu_seconds: float) -> dict[str, object]:
    """The figures of a run."""
    api = report.api
    return {
        "payments": report.purchases,
        "seconds": report.seconds,
        "statuses": {str(status): times for status, times in api.statuses().items()},
        "refusals": dict(api.refusals),
        "resent": dict(api.resent),
        "latency": {
            operation: {name: quantile(seconds, share) for name, share in QUANTILES}
            for operation, seconds in api.seconds.items()
        },
        "skipped": dict(report.skipped),
        "cpu_seconds": cpu_seconds,
    }


@entry_point
def main() -> None:
    """Run the load and print its measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="payments per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--variant", choices=VARIANTS, default="direct")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--warm-up", type=float, default=0.0, help="seconds of warm-up, not counted"
    )
    parser.add_argument("--closed", type=int, default=0, help="connections of a closed loop")
    options = parser.parse_args()
    url, token = os.environ["PURSER_API_URL"], os.environ[TOKEN]
    before = purchases(options.variant, options.rate, options.warm_up, options.seed + WARM_UP_SEED)
    due = purchases(options.variant, options.rate, options.seconds, options.seed)
    tune_gc()  # else it looks at all of them now and then, and nothing is sent meanwhile
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(open_loop(url, token, before))
        time.sleep(DRAIN_SECONDS)
        sys.stdout.write(MEASURING + "\n")
        sys.stdout.flush()
        cpu = time.process_time()
        if options.closed:
            run = closed_loop(url, token, iter(due), options.closed, options.seconds)
        else:
            run = open_loop(url, token, due)
        report = runner.run(run)
        result = result_of(report, time.process_time() - cpu)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

"""A short day at the shop on the real stack: faults at the PSP, then both proofs are equal."""

import asyncio
from collections.abc import Iterator

import pytest

from marketplace.pending import wait_until_settled
from marketplace.shop import ShopSettings
from marketplace.shop_day import Day, run_day
from marketplace.shopping import ShoppingReport
from operations.books import BooksSettings, Options, Verdict, compare_books
from operations.books.psps import open_books
from operations.verify import Options as VerifyOptions
from operations.verify import VerifySettings, verify
from stack.native import Stack
from tests.whole_stack import whole_stack
from writer.append import open_writer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SEED = 20_261_130
RATE = 6.0
SECONDS = 20.0
SETTLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack for this shop alone."""
    with whole_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def report(stack: Stack) -> ShoppingReport:
    """What became of the day."""
    endpoints = stack.endpoints
    environment = endpoints.environment() | endpoints.outside({})
    report = ShoppingReport()
    day = Day(
        api_url=environment["PURSER_API_URL"],
        simulator_url=environment["PURSER_SIMULATOR_URL"],
        shop_token=stack.token("service", "test-service"),
        finance_token=stack.token("finance", "test-finance"),
        seed=SEED,
        settings=ShopSettings(payments_per_second=RATE, mean_step_seconds=0.5),
        seconds=SECONDS,
    )
    with open_writer(endpoints.postgres_dsn) as writer:
        asyncio.run(run_day(day, report, writer=writer))
    return report


def test_every_request_was_answered_and_repeats_are_the_same(report: ShoppingReport) -> None:
    assert report.purchases > 0.6 * RATE * SECONDS
    assert report.finished == report.purchases
    assert report.api.different == []
    assert report.api.compared > 0
    assert report.api.replays > 0


def test_only_expected_answers_were_given(report: ShoppingReport) -> None:
    """No 5xx is an answer, and nobody asked for what the API does not take."""
    assert set(report.api.statuses()) <= {200, 201, 202, 402, 409}


def test_all_is_settled_and_both_proofs_are_equal(
    stack: Stack, report: ShoppingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report.purchases
    endpoints = stack.endpoints
    environment = endpoints.environment() | endpoints.outside({})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wait_until_settled(endpoints.postgres_reader_dsn, SETTLE_SECONDS) == {}
    verified = verify(VerifySettings.load(), VerifyOptions(timeout_seconds=SETTLE_SECONDS))
    assert verified.exit_status == 0, verified
    books = compare_books(
        BooksSettings.load(), Options(timeout_seconds=SETTLE_SECONDS), open_books("stripe")
    )
    assert books.verdict is Verdict.AGREE, books

"""The views worker's settings: which tables it keeps."""

import pytest

from schemas.errors import ConfigurationError
from schemas.views import LEDGER_ENTRIES, PAYMENT_EVENTS
from streams.fold import FOLDED_TABLES
from streams.views.settings import ViewsSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PURSER_VIEWS", raising=False)
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", "http://user:password@127.0.0.1:1/purser")


def test_a_worker_keeps_all_views_unless_told_otherwise() -> None:
    assert ViewsSettings.load().tables == set(FOLDED_TABLES)


def test_a_worker_keeps_the_views_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_VIEWS", "payment_events, ledger_entries,payment_events")
    assert ViewsSettings.load().tables == {PAYMENT_EVENTS, LEDGER_ENTRIES}


@pytest.mark.parametrize(
    "views", ["", "seller_revenue", "payment_events,", "payments", "dead_letters"]
)
def test_a_name_that_is_no_folded_view_is_refused(
    views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PURSER_VIEWS", views)
    with pytest.raises(
        ConfigurationError, match="PURSER_VIEWS: must name only views among payment_ev"
    ):
        ViewsSettings.load()

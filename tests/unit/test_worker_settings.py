"""The settings of every worker: limits that depend on each other."""

import pytest

from payins.settings import PayInsSettings
from schemas.errors import ConfigurationError
from streams.views.settings import ViewsSettings
from streams.worker.settings import TopicWorkerSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", "http://user:password@127.0.0.1:1/purser")
    monkeypatch.setenv("PURSER_POSTGRES_DSN", "postgresql://user:password@127.0.0.1:1/purser")


@pytest.mark.parametrize("settings", [PayInsSettings, ViewsSettings])
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "DRAIN_SECONDS",
            "9",
            "PURSER_DRAIN_SECONDS must be less than PURSER_STOP_TIMEOUT",
        ),
        ("PROBE_SECONDS", "31", "PURSER_PROBE_SECONDS must be at most half of PURSER_STALL_EXIT"),
        (
            "STALL_EXIT_SECONDS",
            "3",
            "PURSER_PROBE_SECONDS must be at most half of PURSER_STALL_EXIT",
        ),
    ],
)
def test_limits_with_which_a_worker_would_end_itself_are_refused(
    settings: type[TopicWorkerSettings],
    variable: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"PURSER_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        settings.load()

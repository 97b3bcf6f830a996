"""Pure parts of verify: merging, the text of an event, options, the report's shape."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations import verify
from operations.verify import CheckResult, Finding, Options, Report, Verdict, VerifySettings, Window
from operations.verify.checks import NAMES
from operations.verify.columns import CLICKHOUSE_HASH, POSTGRES_HASH
from operations.verify.events import JUDGED_MAX, merge
from operations.verify.source import Fingerprint
from schemas.errors import ConfigurationError, InputError
from schemas.events import COLUMNS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
Events = dict[tuple[str, int], int]

events = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4)), st.integers(0, 2)
)


def _stream(of: Events) -> list[Fingerprint]:
    return [Fingerprint(*key, of[key], NOW) for key in sorted(of)]


@given(expected=events, found=events)
def test_merging_finds_what_is_missing_extra_and_different(expected: Events, found: Events) -> None:
    difference = merge(_stream(expected), _stream(found))
    missing = {(event.payment_id, event.seq) for event in difference.missing}
    assert missing == expected.keys() - found.keys()
    assert set(difference.extra) == found.keys() - expected.keys()
    common = expected.keys() & found.keys()
    assert set(difference.different) == {key for key in common if expected[key] != found[key]}


def test_of_many_missing_events_the_oldest_are_kept_and_all_are_counted() -> None:
    count = JUDGED_MAX + 10
    stream = [
        Fingerprint("a", seq, 0, datetime.fromtimestamp(10_000 - seq, UTC))
        for seq in range(1, count + 1)
    ]
    difference = merge(stream, [])
    assert difference.missing_count == count
    assert len(difference.missing) == JUDGED_MAX
    assert [event.seq for event in difference.missing[:2]] == [count, count - 1]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_in_the_hash_of_both_databases(column: str) -> None:
    assert column in POSTGRES_HASH
    assert column in CLICKHOUSE_HASH
    assert COLUMNS.index(column) == [name for name in COLUMNS if name in POSTGRES_HASH].index(
        column
    )


def test_the_report_has_the_same_keys_whatever_the_verdict() -> None:
    finding = Finding(
        problem="different", where={"payment_id": "p", "seq": 1}, columns={"status": ("a", None)}
    )
    check = CheckResult(
        name="payment_events",
        proves="…",
        verdict=Verdict.DIVERGED,
        compared=5,
        differences=3,
        findings=[finding],
    )
    full = Report(verdict=Verdict.DIVERGED, checks=[check], since=date(2026, 1, 1))
    empty = Report(verdict=Verdict.UNDECIDED, reason="PostgreSQL is down")
    assert full.to_json().keys() == empty.to_json().keys()
    parsed = json.loads(json.dumps(full.to_json()))
    assert parsed["exit_status"] == 1
    assert parsed["window"] == {"since": "2026-01-01", "until": None}
    assert parsed["checks"][0]["more"] == 2
    assert parsed["checks"][0]["findings"][0]["columns"] == {
        "status": {"expected": "a", "found": None}
    }
    assert str(finding) == "different payment_id p seq 1: status should be 'a', is None"


@pytest.mark.parametrize(
    ("verdict", "status"), [(Verdict.EQUAL, 0), (Verdict.DIVERGED, 1), (Verdict.UNDECIDED, 2)]
)
def test_each_verdict_has_an_exit_status(verdict: Verdict, status: int) -> None:
    assert Report(verdict=verdict).exit_status == status


@pytest.mark.parametrize("name", NAMES)
def test_every_check_is_documented(name: str) -> None:
    reference = Path(__file__).resolve().parents[2] / "docs" / "reference" / "verify.md"
    assert f"| `{name}` |" in reference.read_text(encoding="utf-8")


def test_check_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_window_takes_both_of_its_days() -> None:
    window = Window(since=date(2026, 1, 31), until=date(2026, 2, 28))
    assert window.bounds() == ("2026-01-31 00:00:00", "2026-03-01 00:00:00")
    assert Window().is_open


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout_seconds": -1}, "timeout"),
        ({"timeout_seconds": float("nan")}, "timeout"),
        ({"rows": -1}, "rows"),
        ({"rows": 501}, "rows"),
        ({"window": Window(since=date(2026, 2, 1), until=date(2026, 1, 1))}, "until"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        Options(**options)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_verify_adds_up_in_a_type_that_nothing_else_uses() -> None:
    modules = Path(verify.__file__).parent.glob("*.py")
    narrow = ("toInt128(", "sum(amount_minor)")
    assert [
        (path.name, word)
        for path in modules
        if path.name != "source.py"  # PostgreSQL's sum is numeric
        for word in narrow
        if word in path.read_text()
    ] == []


def test_a_missing_address_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PURSER_POSTGRES_READER_DSN", raising=False)
    monkeypatch.setenv("PURSER_CLICKHOUSE_URL", "http://u:secret@h/p")
    with pytest.raises(ConfigurationError, match="PURSER_POSTGRES_READER_DSN") as refused:
        VerifySettings.load()
    assert "secret" not in str(refused.value)

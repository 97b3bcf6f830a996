"""A dry run gives every line the verdict that the import gives it, and the same counts.

tests/integration/writer/test_import.py tries times and currencies in PostgreSQL.
"""

import json
from collections.abc import Sequence
from datetime import timedelta, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.money import CURRENCY_ENDS, CURRENCY_EXPONENTS
from tests.histories import a_history, an_event
from writer.importing.bulk import BadLine, BulkAppender, DryRun, Target
from writer.importing.lines import Line
from writer.importing.run import Importer
from writer.memory import MemoryStore

_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_ENDS = [end + timedelta(microseconds=shift) for end in CURRENCY_ENDS.values() for shift in (-1, 0)]
_TIMES = st.one_of(
    st.datetimes(timezones=_ZONES).map(lambda time: time.isoformat()),
    st.sampled_from(_ENDS).map(lambda time: time.isoformat()),
    st.from_regex(
        r"(19|20)[0-9][0-9]-[01][0-9]-[0-3][0-9][Tt _☃][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
        r"(\\.[0-9]{1,8})?([Zz]|[+-][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.5)?)?)?",
        fullmatch=True,
    ),
)  # fmt: skip
_CURRENCIES = st.one_of(
    st.sampled_from(sorted(CURRENCY_EXPONENTS)),
    st.sampled_from(["XXX", "XAU", "USN", "eur", "", "EURO", "ÄUR", "E\0R"]),
)
_AMOUNTS = st.one_of(
    st.integers(-(10**20), 10**20), st.integers(1, 1_501), st.sampled_from([1000.0, "1000", None])
)
_EVENTS = st.lists(
    st.one_of(
        st.sampled_from([an_event("captured"), an_event("released", 3), an_event("refunded", 4)]),
        st.builds(an_event, st.just("captured"), amount_minor=_AMOUNTS),
        st.builds(lambda at: an_event("captured", at=at), _TIMES),
    ),
    max_size=3,
)


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """A history with a time, a currency, an amount or a key that may be wrong."""
    fields: dict[str, Any] = {"idempotency_key": draw(st.sampled_from(["KEY-1", "KEY-2", "KEY-3"]))}
    if draw(st.booleans()):
        fields["created_at"] = draw(_TIMES)
    if draw(st.booleans()):
        fields["currency"] = draw(_CURRENCIES)
    line = json.dumps(a_history(*draw(_EVENTS), **fields))
    repeated = draw(st.sampled_from(["", '"currency"', '"amount_minor"', '"type"']))
    if repeated and draw(st.booleans()):
        line = line.replace(f"{repeated}: ", f"{repeated}: null, {repeated}: ", 1)
    return line.encode()


def _verdicts(target: Target, lines: Sequence[bytes]) -> tuple[int, int, int, list[int]]:
    """Payments, events, unchanged, and the numbers of the bad lines."""
    bad: list[BadLine] = []
    importer = Importer(target, psp="stripe", on_bad_line=bad.append)
    importer.run(Line(number, raw) for number, raw in enumerate(lines, 1))
    total = importer.total
    return (
        total.payments, total.events, total.unchanged, sorted(each.line.number for each in bad)
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_lines(), min_size=1, max_size=12))
def test_dry_run_and_import_agree_on_every_line(lines: list[bytes]) -> None:
    assert _verdicts(DryRun(), lines) == _verdicts(BulkAppender(MemoryStore()), lines)

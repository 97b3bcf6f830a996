"""The cut against PostgreSQL's own definition of visibility, also where ids wrap."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from operations.verify.cut import ALWAYS_VISIBLE_AFTER, TXID_MODULUS, Cut

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _cut(xmin: int, xmax: int, in_progress: tuple[int, ...]) -> Cut:
    return Cut(xmin=xmin, xmax=xmax, in_progress=in_progress, taken_at=NOW)


def test_a_snapshot_is_read_from_its_text() -> None:
    assert Cut.parse("917:917:", NOW) == _cut(917, 917, ())
    assert Cut.parse("5:9:5,7", NOW) == _cut(5, 9, (5, 7))
    assert str(Cut.parse("5:9:5,7", NOW)) == "5:9:5,7"


@given(
    epoch=st.integers(0, 3),
    base=st.sampled_from([3, 1000, TXID_MODULUS // 2, TXID_MODULUS - 5]),
    width=st.integers(0, 12),
    running=st.sets(st.integers(0, 11)),
    offset=st.integers(-(2**31) + 100, 2**31 - 100) | st.integers(-20, 20),
)
def test_a_row_is_in_the_cut_when_its_transaction_was_visible(
    epoch: int, base: int, width: int, running: set[int], offset: int
) -> None:
    xmin = epoch * TXID_MODULUS + base
    in_progress = tuple(sorted(xmin + at for at in running if at < width))
    cut = _cut(xmin, xmin + width, in_progress)
    txid = xmin + offset  # 64 bit, as PostgreSQL knows it; ClickHouse has the lower half
    visible = txid < xmin or (txid < cut.xmax and txid not in in_progress)
    if txid % TXID_MODULUS:
        assert cut.holds(txid % TXID_MODULUS, recorded_at=NOW) is visible


def test_rows_of_the_initial_snapshot_and_old_ones_are_in_the_cut_whatever_their_txid() -> None:
    cut = _cut(1000, 1000, ())
    assert not cut.holds(1000, recorded_at=NOW)
    assert cut.holds(1000, op="r", recorded_at=NOW)
    assert cut.holds(0, recorded_at=NOW)
    old = NOW - ALWAYS_VISIBLE_AFTER - timedelta(seconds=1)
    assert cut.holds(1000 + 2**31 - 1, recorded_at=old)

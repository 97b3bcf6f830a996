"""ClickHouse's own blocks: as ClickHouse writes them, in any pieces, damaged, cut, or too large."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.clickhouse_http.blocks import BLOCK_BYTES, METHODS, BlockDecoder, BlockEncoder
from stack.clickhouse_http.errors import ClickHouseError

ONE = bytes.fromhex("de79cf087fb635049db816df195b016b820c0000000200000020310a")
"""The block that holds `1` and a line break, as the drivers for Java and Go read it."""
methods = pytest.mark.parametrize("method", METHODS)


def decode(body: bytes, piece_bytes: int = 1 << 16, **options: Any) -> bytes:
    decoder = BlockDecoder(**options)
    plain: list[bytes] = []
    for start in range(0, len(body), piece_bytes):
        plain.extend(decoder.feed(body[start : start + piece_bytes]))
    decoder.finish()
    return b"".join(plain)


def refused(body: bytes, **options: Any) -> int:
    with pytest.raises(ClickHouseError) as raised:
        decode(body, **options)
    return raised.value.code


def test_blocks_are_those_that_drivers_read() -> None:
    assert BlockEncoder().compress(b"1\n") == ONE
    assert decode(ONE) == b"1\n"


@methods
@given(parts=st.lists(st.binary(max_size=300), max_size=6), piece=st.integers(1, 50))
def test_blocks_add_up_however_they_arrive(method: str, parts: list[bytes], piece: int) -> None:
    encoder = BlockEncoder(method)
    body = b"".join(encoder.compress(part) for part in parts) + encoder.flush()
    assert decode(body, piece) == b"".join(parts)


@methods
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_large_answer_is_cut_into_blocks(method: str, extra: int) -> None:
    plain = bytes(3 * BLOCK_BYTES + extra)
    pieces = list(BlockDecoder().feed(BlockEncoder(method).compress(plain)))
    assert b"".join(pieces) == plain
    assert max(map(len, pieces)) == BLOCK_BYTES


def test_nothing_is_no_block() -> None:
    assert BlockEncoder().compress(b"") + BlockEncoder().flush() == b""
    assert decode(b"") == b""


@methods
@given(plain=st.binary(min_size=1, max_size=300), data=st.data())
def test_body_cut_short_or_changed_is_never_another_body(
    method: str, plain: bytes, data: st.DataObject
) -> None:
    whole = BlockEncoder(method).compress(plain)
    cut = data.draw(st.integers(1, len(whole) - 1))
    assert refused(whole[:cut]) == 33
    at, change = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    damaged = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
    assert refused(damaged) in (31, 33, 40, 89)


def test_checksum_can_be_left_out_but_sizes_cannot() -> None:
    damaged = bytes(16) + ONE[16:]
    assert refused(damaged) == 40
    assert decode(damaged, verify=False) == b"1\n"
    wrong_size = damaged[:21] + b"\x09" + damaged[22:]
    assert refused(wrong_size, verify=False) == 271


@methods
def test_size_of_a_block_is_bounded_before_it_is_unpacked(method: str) -> None:
    body = BlockEncoder(method).compress(bytes(2000))
    assert decode(body, max_block_bytes=2100) == bytes(2000)
    assert refused(body, max_block_bytes=1999) == 31


def test_other_methods_are_named() -> None:
    with pytest.raises(ClickHouseError, match="0x91") as raised:
        decode(bytes(16) + b"\x91" + bytes(8))
    assert raised.value.code == 89

"""Bodies of many frames, cut anywhere, damaged, or with a bomb inside."""

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stack.clickhouse_http.compression import OUTPUT_CHUNK_BYTES, Decoder, choose_encoder
from stack.clickhouse_http.errors import ClickHouseError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lambda data: bytes(lz4.frame.compress(data)),
    "zstd": zstandard.compress,
}
encodings = pytest.mark.parametrize("encoding", sorted(COMPRESS))


def decode(encoding: str, body: bytes, piece_bytes: int = 1 << 16) -> bytes:
    decoder = Decoder(encoding)
    plain: list[bytes] = []
    for start in range(0, len(body), piece_bytes):
        plain.extend(decoder.feed(body[start : start + piece_bytes]))
    decoder.finish()
    return b"".join(plain)


@encodings
@given(parts=st.lists(st.binary(max_size=300), max_size=6), piece=st.integers(1, 50))
def test_frames_add_up_however_they_arrive(encoding: str, parts: list[bytes], piece: int) -> None:
    body = b"".join(COMPRESS[encoding](part) for part in parts)
    assert decode(encoding, body, piece) == b"".join(parts)


@encodings
@given(plain=st.binary(min_size=1, max_size=300), data=st.data())
def test_body_cut_short_is_never_a_shorter_body(
    encoding: str, plain: bytes, data: st.DataObject
) -> None:
    whole = COMPRESS[encoding](plain)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(ClickHouseError) as raised:
        decode(encoding, whole[:cut])
    assert raised.value.code in (33, 117)


@encodings
def test_garbage_behind_a_frame_is_an_error(encoding: str) -> None:
    with pytest.raises(ClickHouseError):
        decode(encoding, COMPRESS[encoding](b"x") + b"garbage")


@encodings
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_bomb_comes_out_in_bounded_pieces(encoding: str, extra: int) -> None:
    size = 8 * OUTPUT_CHUNK_BYTES + extra
    decoder = Decoder(encoding)
    pieces = [len(piece) for piece in decoder.feed(COMPRESS[encoding](bytes(size)))]
    decoder.finish()
    assert sum(pieces) == size
    assert max(pieces) <= OUTPUT_CHUNK_BYTES


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_plain_body_stays_as_it_is(encoding: str) -> None:
    assert decode(encoding, b"plain") == b"plain"


def test_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(ClickHouseError, match=r"gzip.*deflate.*zstd.*lz4") as raised:
        Decoder("br")
    assert (raised.value.code, raised.value.http_status) == (48, 501)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("lz4,zstd,gzip", "lz4"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("br", None),
        ("identity", None),
        ("", None),
    ],
)
def test_cheapest_accepted_encoding_is_chosen(accepted: str, chosen: str | None) -> None:
    answer = choose_encoder(accepted, 3)
    assert (answer[0] if answer else None) == chosen


@pytest.mark.parametrize("parts", [[], [b""], [b"a", b"", b"b" * 100_000]])
@encodings
def test_answers_are_one_whole_frame(encoding: str, parts: list[bytes]) -> None:
    answer = choose_encoder(encoding, 3)
    assert answer is not None
    encoder = answer[1]
    body = b"".join(encoder.compress(part) for part in parts) + encoder.flush()
    assert decode(encoding, body) == b"".join(parts)

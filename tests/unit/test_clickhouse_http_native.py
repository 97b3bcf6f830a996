"""Blocks of Native get their frames wherever the pieces end, for columns of many types."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from stack.clickhouse_http.native_frames import framed

INFO = bytes([1, 0, 2, 255, 255, 255, 255, 0])
COLUMNS = [
    ("UInt8", bytes([7, 8])),
    ("String", b"\\x01a\\x03\\xff\\xfe\\xfd"),
    ("Nullable(Int32)", bytes([0, 1]) + bytes(8)),
    ("Nullable(String)", bytes([0, 1]) + b"\\x01a\\x00"),
    ("DateTime64(3)", bytes(16)),
    ("UUID", bytes(32)),
    ("Array(Array(UInt8))", b"".join(n.to_bytes(8, "little") for n in (1, 2, 2, 3)) + b"abc"),
    (
        "Map(String, UInt8)",
        b"".join(n.to_bytes(8, "little") for n in (1, 2)) + b"\\x01a\\x01b" + b"xy",
    ),
    ("Tuple(UInt8, String)", bytes([1, 2]) + b"\\x01a\\x00"),
    ("Decimal(38, 4)", bytes(32)),
    ("FixedString(3)", b"abcdef"),
    ("Enum8('a' = 1)", bytes([1, 1])),
]

def text(word):
    return bytes([len(word)]) + word.encode()

def block(rows, flag):
    body = bytes([len(COLUMNS), rows])
    for number, (kind, data) in enumerate(COLUMNS):
        body += text(f"c{number}") + text(kind) + flag + (data if rows else b"")
    return body

plain = block(2, b"") + block(0, b"") + block(2, b"")
expected = b"".join(INFO + block(rows, b"\\x00") for rows in (2, 0, 2))
for size in (1, 7, len(plain)):
    pieces = [plain[at : at + size] for at in range(0, len(plain), size)]
    assert b"".join(framed(iter(pieces))) == expected, size
cut = b"".join(framed(iter([plain[:-3]])))
assert expected.startswith(cut) and len(cut) < len(expected)
"""


def test_each_block_and_each_type_gets_its_frame() -> None:
    """In a process of its own, like the server's: it turns the library's readers in C off."""
    environment = {**os.environ, "CLICKHOUSE_CONNECT_USE_C": "0"}
    checkout = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=checkout, env=environment, check=True)

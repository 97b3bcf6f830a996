"""Renders a record's bytes for people and for JSON: as text if they are text, else as hex.

Records may contain anything, so control characters are escaped before they reach the terminal.
"""

import base64
from typing import Any

TEXT_SHOWN_BYTES = 4_096
HEX_SHOWN_BYTES = 512
HEX_LINE_BYTES = 16
_LINE_CHARACTERS = "\n\t"


def printable(text: str) -> str:
    """The text with everything that is not a visible character, a space or a line end escaped."""
    return "".join(
        character
        if character.isprintable() or character in _LINE_CHARACTERS
        else _escaped(character)
        for character in text
    )


def one_line(text: str) -> str:
    """As `printable`, on one line."""
    return printable(" ".join(text.split()))


def rendered(data: bytes) -> tuple[str, int]:
    """The bytes as lines to show, and how many bytes are left out."""
    text = _text(data)
    if text is None:
        return _hex_dump(data[:HEX_SHOWN_BYTES]), max(0, len(data) - HEX_SHOWN_BYTES)
    if len(data) > TEXT_SHOWN_BYTES:
        # The cut may split a character; its first bytes are left out too.
        text = data[:TEXT_SHOWN_BYTES].decode(errors="ignore")
    return printable(text), len(data) - len(text.encode())


def as_json(data: bytes | None) -> dict[str, Any] | None:
    """All of it: `{"bytes", "encoding": "utf-8" or "base64", "data"}`; None for no value."""
    if data is None:
        return None
    text = _text(data)
    if text is None:
        encoded = base64.b64encode(data).decode()
        return {"bytes": len(data), "encoding": "base64", "data": encoded}
    return {"bytes": len(data), "encoding": "utf-8", "data": text}


def _text(data: bytes) -> str | None:
    """The text, or None if the bytes are not UTF-8 or contain control characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if any(character < " " and character not in "\n\r\t" for character in text):
        return None
    return text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _hex_dump(data: bytes) -> str:
    lines = []
    for start in range(0, len(data), HEX_LINE_BYTES):
        line = data[start : start + HEX_LINE_BYTES]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        lines.append(f"{start:06x}  {line.hex(' '):<{HEX_LINE_BYTES * 3}} {shown}")
    return "\n".join(lines)

"""Recognises a file that is plainly not JSON Lines by its first bytes; pure.

Such a file gets one message that says what it is and what to do, instead of a rejected line for
each of its lines. A file that could be JSON Lines and is damaged further on is read line by line.
"""

import re
from collections.abc import Mapping

HEAD_BYTES = 8192
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"
GIVE = "give one JSON object a line, in UTF-8, plain or gzip"

_SIGNATURES: Mapping[bytes, str] = {
    b"\x1f\x8b": "is compressed with gzip twice; decompress it once: gunzip -c FILE",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; decompress it: zstd -dc FILE | purser import -",
    b"\xfd7zXZ\0": "is compressed with xz; decompress it: xz -dc FILE | purser import -",
    b"BZh": "is compressed with bzip2; decompress it: bzip2 -dc FILE | purser import -",
    b"\x04\x22\x4d\x18": "is compressed with lz4; decompress it: lz4 -dc FILE | purser import -",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; extract the JSON Lines in it",
    b"PK\x03\x04": "is a zip archive; extract what is in it: unzip -p FILE | purser import -",
    b"PK\x05\x06": f"is an empty zip archive; {GIVE}",
    b"\xd0\xcf\x11\xe0": f"is an old Office document, such as an Excel workbook; {GIVE}",
    b"PAR1": f"is a Parquet file; {GIVE}",
    b"%PDF": f"is a PDF; {GIVE}",
    b"\xff\xfe\0\0": "is UTF-32; convert it: iconv -f UTF-32 -t UTF-8 FILE | purser import -",
    b"\0\0\xfe\xff": "is UTF-32; convert it: iconv -f UTF-32 -t UTF-8 FILE | purser import -",
}
_UTF_16 = "is UTF-16; convert it: iconv -f UTF-16{} -t UTF-8 FILE | purser import -"
_OFFICE = (b"[Content_Types].xml", b"_rels/", b"xl/", b"mimetypeapplication/vnd.oasis")
_TAR_MAGIC_AT = 257

_CONTINUES = re.compile(rb"\{(?:[^\n]*[\[{,:])?[ \t\r]*\n\s*[\"}\]]|\{[^\n]*\[[ \t\r]*\n")
"""An object whose first line ends where its next member or element must follow."""


def what_it_is_instead(head: bytes) -> str | None:
    """Return what the file is and what to do, if it is plainly not JSON Lines; else None.

    `head` is its first `HEAD_BYTES` or all of it, decompressed.
    """
    if head.startswith(b"PK") and any(mark in head for mark in _OFFICE):
        return f"is an Office document, such as an Excel workbook; {GIVE}"
    for signature, words in _SIGNATURES.items():
        if head.startswith(signature):
            return words
    if head[_TAR_MAGIC_AT:].startswith(b"ustar"):
        return "is a tar archive; extract the JSON Lines in it: tar -xOf FILE | purser import -"
    return _utf_16(head) or _text(head)


def _utf_16(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _UTF_16.format("")
    first = head[:4]
    if len(first) == 4 and first[1] == first[3] == 0 and first[0] and first[2]:
        return _UTF_16.format("LE")
    if len(first) == 4 and first[0] == first[2] == 0 and first[1] and first[3]:
        return _UTF_16.format("BE")
    return None


def _text(head: bytes) -> str | None:
    start = head.removeprefix(BYTE_ORDER_MARK).lstrip(SPACE)
    if start.startswith(b"{"):
        if _CONTINUES.match(start):
            return "has one JSON object on several lines; write each on one: jq -c . FILE"
        return None
    if not _is_text(head):
        return f"is binary or not UTF-8; {GIVE}"
    if start.startswith(b"["):
        return "is a JSON array; write one object a line: jq -c '.[]' FILE | purser import -"
    if start.startswith(b"<"):
        if re.match(rb"<(?:!doctype\s+html|html|head|body)\b", start, re.IGNORECASE):
            return "is an HTML page, perhaps an error or a login instead of the file; get it again"
        return f"is XML; {GIVE}"
    lines = [line.lstrip(SPACE) for line in start.split(b"\n")]
    if not start or any(line.startswith(b"{") for line in lines):
        return None
    if re.search(rb"[,;\t|]", lines[0]):
        return f"is a table (CSV or the like), not JSON Lines; {GIVE}"
    return f"is text, but not JSON Lines; {GIVE}"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # the last character may be truncated
    return True

"""The parts of a page that are made from tables: between a marker with a name and the end."""

MARKER = "<!-- generated: {} -->\n"
END = "\n<!-- end -->"


def replaced(text: str, name: str, lines: list[str]) -> str:
    """The text with other lines between the marker of that name and the end after it."""
    before, marker, rest = text.partition(MARKER.format(name))
    assert marker, name
    _, end, after = rest.partition(END)
    return before + marker + "\n".join(lines) + end + after

"""The commands that the documentation prints, as blocks of lines and within sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack.settings import CHECKOUT

PAGES = tuple(
    sorted(
        path.relative_to(CHECKOUT)
        for path in (
            *CHECKOUT.glob("*.md"),
            *(CHECKOUT / "docs").glob("*.md"),
            *(CHECKOUT / "docs" / "how-to").glob("*.md"),
            *(CHECKOUT / "docs" / "reference").glob("*.md"),
            *(CHECKOUT / "docs" / "benchmarks").glob("*.md"),
        )
        if path.name != "CHANGELOG.md"  # it tells what was
    )
)
PROGRAMS = ("purser", ".venv/bin/purser", "make", "curl", "eval", "python", ".venv/bin/python")

NOT_RUN = {
    "make demo": "takes minutes, and walks the same way as the commands of the first five minutes",
    "make test": "runs this test",
    "make check": "continuous integration runs its parts",
    "make integration": "is a part of `make test`",
    "make coverage": "continuous integration runs it",
    "make chaos": "takes longer than all tests; tests/chaos plays a short round",
    "make bench": "takes half an hour",
    "purser bench queries --payments 5000000": "takes half an hour",
}
"""What printed commands that no test runs begin with, and why. Their targets and options exist."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^    .*\n|^ *\n(?=    ))+", re.MULTILINE)
_IN_TEXT = re.compile(r"`((?:purser|make|python -m) [^`\n]*)`")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a page that a reader would paste into a shell."""

    page: Path
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """Its commands, each on one logical line as the shell joins them."""
        joined = self.text.replace("\\\n", "")
        lines = (line.strip() for line in joined.splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))


def text_of(page: Path) -> str:
    """The text of a page."""
    return (CHECKOUT / page).read_text(encoding="utf-8")


def fenced(language: str, page: Path) -> list[str]:
    """The code of a page in this language."""
    return [match[2] for match in _FENCED.finditer(text_of(page)) if match[1] == language]


def reason_not_to_run(line: str) -> str | None:
    """Why a test does not run this command; None if one does."""
    command = " ".join(line.split("#", 1)[0].split())
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of commands of a page, in its order; blocks of output are none."""
    text = text_of(page)
    found = [
        (match.start(), match[2]) for match in _FENCED.finditer(text) if match[1] in ("", "sh")
    ]
    outside = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    found += [
        (match.start(), re.sub(r"^    ", "", match[0], flags=re.MULTILINE))
        for match in _INDENTED.finditer(outside)
    ]
    for _, block in sorted(found):
        if block.strip() and is_command(block.strip().splitlines()[0]):
            yield Block(page, block)


def is_command(line: str) -> bool:
    """Whether a line calls one of our programs, or one that needs our addresses."""
    return line.split(" ", 1)[0] in PROGRAMS


def commands_in_text(page: Path) -> list[str]:
    """The commands that a page names within its sentences."""
    return _IN_TEXT.findall(_FENCED.sub("", text_of(page)))

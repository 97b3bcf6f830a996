"""How commands speak: progress on standard error, results on standard output."""

from rich.console import Console

_progress = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """A line of progress, for people."""
    _progress.print(line, markup=False, soft_wrap=True)

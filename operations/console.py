"""How commands speak: progress on standard error, results on standard output."""

from rich.console import Console

PIPE_COLUMNS = 110

_progress = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """A line of progress, for people."""
    _progress.print(line, markup=False, soft_wrap=True)


def wide_console() -> Console:
    """Standard output for tables; in a file or a pipe they may be wider than 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)

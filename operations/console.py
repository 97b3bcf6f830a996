"""Output of the commands: progress goes to standard error, results to standard output."""

from rich.console import Console

PIPE_COLUMNS = 110

_progress = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """Print a line of progress for people."""
    _progress.print(line, markup=False, soft_wrap=True)


def wide_console() -> Console:
    """Standard output for tables; in a file or a pipe it is wider than the default 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)

"""The `purser` command. It loads the subcommands inside the frame of every program.

The script `purser` beside this module starts it, with Ctrl-C held back.
"""

import signal
import sys
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.runtime import entry_point, loading


@entry_point
def main() -> None:
    """Run the command line; a PurserError prints one line and sets the exit status."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the frame is in place
    with loading():  # takes a second
        import logging

        from cli.commands import app
        from cli.environment import use_local_stack
        from operations.command_line import run

    _require_current_folder()
    # The client also logs errors that it raises; printing them once is enough.
    logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
    use_local_stack()
    run(app, "purser", sys.argv[1:])


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "the current folder was removed; change to one that exists"
        ) from error


if __name__ == "__main__":
    main()

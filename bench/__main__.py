"""`python -m bench`, which `purser bench` executes: loads the command inside the frame."""

import sys

from schemas.runtime import entry_point, loading


@entry_point
def main() -> None:
    """Run the command; a PurserError prints one line and sets the exit status."""
    with loading():
        from bench.command import app
        from operations.command_line import run
    run(app, "purser bench", sys.argv[1:])


if __name__ == "__main__":
    main()

"""Runs a command line: parses the arguments, and gives every ending its line and exit status."""

from collections.abc import Sequence

import typer
from typer.main import get_command

from operations.console import say
from schemas.errors import InputError, PurserError, UsageError


def run(app: typer.Typer, name: str, arguments: Sequence[str]) -> None:
    """Run a command; a PurserError becomes one line on standard error.

    Not by calling the app: that ends with status 1, and silently, if a server closes a connection.

    Raises:
        SystemExit: with the status, unless it is 0.
        KeyboardInterrupt: the command was interrupted.
    """
    try:
        _invoke(app, name, list(arguments))
    except PurserError as error:
        say(f"purser: {error}")
        raise SystemExit(error.exit_status) from None


def _invoke(app: typer.Typer, name: str, arguments: list[str]) -> None:
    command = get_command(app)
    try:
        with command.make_context(name, arguments) as context:
            command.invoke(context)
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None
    except typer.Abort as aborted:
        raise _unanswered(aborted) from None
    except typer.TyperException as error:
        raise _refused(error, name) from None


def _unanswered(aborted: typer.Abort) -> BaseException:
    """What ended a question to the operator: Ctrl-C, or the end of the input."""
    if isinstance(aborted.__context__, KeyboardInterrupt):
        return KeyboardInterrupt()
    return InputError("answer", "the input ended before it; nothing was changed")


def _refused(error: typer.TyperException, name: str) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else name
    problem = error.format_message().rstrip(".")
    # Without arguments the help has been shown, and there is no problem to name.
    advice = f"{problem or 'give a command'}; `{path} --help` says what there is"
    return UsageError(path.removeprefix(name).strip() or "command line", advice)

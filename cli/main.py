"""The `purser` command: one line per subcommand, all work done elsewhere."""

import typer

app = typer.Typer(name="purser", no_args_is_help=True, add_completion=False)


def main() -> None:
    """Run the command line."""
    app()

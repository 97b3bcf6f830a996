"""The `purser` command: registers the subcommands; the work is done elsewhere."""

import logging
import sys

import typer

from cli.bench import bench
from cli.dead_letters import dead_letters
from cli.demo import demo
from cli.down import down
from cli.env import env
from cli.environment import use_local_stack
from cli.import_ import import_
from cli.migrate import migrate
from cli.repair import repair
from cli.replay import replay
from cli.status import status
from cli.up import up
from cli.verify import verify
from schemas.errors import PurserError
from schemas.runtime import entry_point

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C

app = typer.Typer(
    name="purser",
    help="Record a marketplace's payments, stream them into views, and prove the views right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(up)
app.command()(down)
app.command()(status)
app.command()(env)
app.command()(migrate)
app.command()(demo)
# Every argument is passed on unchanged, including `--help`.
app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)(bench)
app.command("import")(import_)
app.command()(verify)
app.command()(replay)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(repair, name="repair")


@entry_point
def main() -> None:
    """Run the command line; a PurserError prints one line and sets the exit status."""
    # The client also logs errors that it raises; printing them once is enough.
    logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
    try:
        use_local_stack()
        app()
    except PurserError as error:
        typer.echo(f"purser: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()

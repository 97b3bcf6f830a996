"""Registers the subcommands of `purser`; the work is done elsewhere."""

import typer

from cli.bench import bench
from cli.dead_letters import dead_letters
from cli.demo import demo
from cli.down import down
from cli.env import env
from cli.import_ import import_
from cli.migrate import migrate
from cli.payins import payins
from cli.repair import repair
from cli.replay import replay
from cli.status import status
from cli.token import token
from cli.up import up
from cli.verify import verify

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
app.command()(token)
app.command()(replay)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(repair, name="repair")
app.add_typer(payins, name="payins")

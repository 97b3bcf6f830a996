"""What the documentation names exists: subcommands, options and make targets."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.commands import app
from tests.documentation import NOT_RUN, PAGES, blocks, commands_in_text, is_command, text_of

TARGETS = set(re.findall(r"^([a-z-]+):", text_of(Path("Makefile")), re.MULTILINE))


def named(page: Path) -> list[str]:
    """Every command of a page, in blocks and in sentences."""
    return [line for block in blocks(page) for line in block.lines] + commands_in_text(page)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_only_commands_and_options_that_exist(page: Path) -> None:
    for line in named(page):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert set(re.findall(r"^[a-z-]+$", "\n".join(words), re.MULTILINE)) <= TARGETS, line
        elif program.endswith("purser"):
            assert unknown(words) == [], line


def unknown(words: list[str]) -> list[str]:
    """Words that `purser` does not know: a subcommand or an option."""
    command: Any = typer.main.get_command(app)
    words = list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name == "COMMAND":  # stands for any of them
            return []
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    if command.name == "bench":  # its options are its own
        return []
    options = {option for each in command.params for option in each.opts} | {"--help"}
    return [word for word in words if word.startswith("--") and word not in options]


def test_each_command_that_is_not_run_is_printed_somewhere() -> None:
    lines = [
        " ".join(line.split()) for page in PAGES for block in blocks(page) for line in block.lines
    ]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in lines), f"{start} is printed no more"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_block_of_commands_has_nothing_else(page: Path) -> None:
    for block in blocks(page):
        assert [line for line in block.lines if not is_command(line)] == []

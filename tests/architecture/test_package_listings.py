"""A package whose docstring lists its files lists exactly those that it has."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT

LISTED = re.compile(r"^    (\w+\.py|\w+/)  +\S", re.MULTILINE)


def _listing(package: Path) -> list[str]:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()), clean=False)
    return LISTED.findall(docstring or "")


def _names_files(docstring: str) -> bool:
    return len(re.findall(r"\b\w+\.py\b", docstring)) > 2


LISTINGS = {
    str(file.parent.relative_to(ROOT)): _listing(file.parent)
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("__init__.py"))
    if _listing(file.parent)
}


@pytest.mark.parametrize("package", LISTINGS)
def test_a_listing_names_every_file_once(package: str) -> None:
    folder = ROOT / package
    files = {file.name for file in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{file.parent.name}/" for file in folder.glob("*/__init__.py")}
    assert sorted(LISTINGS[package]) == sorted(files | folders)


def test_a_docstring_that_names_files_is_a_listing() -> None:
    """Reflowed into a paragraph it would not be checked."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("__init__.py"):
            docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
            assert not _names_files(docstring) or _listing(file.parent), file


def test_listings_are_found() -> None:
    assert len(LISTINGS) >= 5

"""A parallel run of the tests: which of them stay together, what begins first, how many at once."""

import ast
from pathlib import Path

from tests.scheduling import LONGEST, PARTS, longest_first, unit_of, workers_for

CHECKOUT = Path(__file__).resolve().parents[2]
GIB = 1024**3


def test_a_file_stays_together_unless_it_is_split() -> None:
    assert unit_of("tests/unit/test_money.py::test_a[x]") == "tests/unit/test_money.py"
    for file, parts in PARTS.items():
        for number, names in enumerate(parts):
            assert {unit_of(f"{file}::{name}") for name in names} == {f"{file} {number}"}
            assert {unit_of(f"{file}::{name}[a::b]") for name in names} == {f"{file} {number}"}
        assert unit_of(f"{file}::test_new") == f"{file} {len(parts)}"


def test_every_test_that_is_named_exists() -> None:
    for file, parts in PARTS.items():
        tree = ast.parse((CHECKOUT / file).read_text(encoding="utf-8"))
        found = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        assert not frozenset().union(*parts) - found, file
    assert all((CHECKOUT / unit.split()[0]).is_file() for unit in LONGEST)


def test_the_longest_begin_first() -> None:
    others = "tests/unit/test_money.py::test_a"
    numbers = [longest_first(f"{unit}::test_a") for unit in LONGEST if " " not in unit]
    assert numbers == sorted(numbers)
    assert max(numbers) < longest_first(others)


def test_a_machine_gets_as_many_workers_as_it_can_carry() -> None:
    assert workers_for(cores=2, memory_bytes=24 * GIB) == 3
    assert workers_for(cores=16, memory_bytes=16 * GIB) == 5
    assert workers_for(cores=1, memory_bytes=1 * GIB) == 1

"""The temporary stack of the demo and the benchmarks: one process at a time."""

import os
import signal
from pathlib import Path

import pytest

from cli.environment import use_local_stack
from operations.own_stack import own_stack
from schemas.errors import ConfigurationError
from schemas.runtime import SIGNALS
from stack.credentials import Credentials
from stack.endpoints import OUTSIDE, Endpoints
from stack.native import Stack
from stack.programs import worker_specification
from stack.settings import StackSettings
from stack.topology import API, PAYINS_WORKER, SIMULATOR, Program
from tests.whole_stack import stack_in

REAL_STRIPE = {
    "PURSER_STRIPE_API_BASE": "https://api.stripe.com",
    "PURSER_STRIPE_API_KEY": "sk_live_of_the_company",
    "PURSER_STRIPE_WEBHOOK_SECRET": "whsec_of_the_company",
    "PURSER_SIMULATOR_WEBHOOK_URL": "https://shop.example/webhooks",
}
PORT_BASE = 21_000


def test_a_second_run_leaves_the_first_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PURSER_HOME", str(tmp_path / "home"))
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with own_stack("demo") as stack:
        stack.home.create()
        with (
            pytest.raises(ConfigurationError, match="another process uses the stack in"),
            own_stack("demo"),
        ):
            pass
        assert stack.home.path.is_dir()
        with own_stack("bench"):
            pass
    with own_stack("demo") as stack:
        assert not stack.home.path.exists()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Endpoints:
    """Another stack has been up, and this process has its addresses, as every command has."""
    cleared = {name: value for name, value in os.environ.items() if "PURSER_" not in name}
    monkeypatch.setattr(os, "environ", cleared)  # what is added to it ends with the test
    monkeypatch.setenv("PURSER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PURSER_PORT_BASE", str(PORT_BASE))
    stack = Stack(StackSettings.load())
    stack.home.create()
    Credentials.read_or_create(stack.home)
    use_local_stack()
    monkeypatch.delenv("PURSER_PORT_BASE")  # it is chosen by each stack
    return stack.endpoints


def started_with(stack: Stack, program: Program) -> dict[str, str]:
    """The environment with which a stack starts a program, as far as it is Purser's."""
    stack.home.create()
    Credentials.read_or_create(stack.home)
    given = worker_specification(program, stack.settings, stack.endpoints).environment
    return {name: value for name, value in given.items() if name.startswith("PURSER_")}


def assert_alone(stack: Stack, beside: Endpoints) -> None:
    """Each program of the stack gets the addresses and secrets of this stack, and no others."""
    others = {*beside.environment().values(), *beside.outside({}).values()} - {"127.0.0.1"}
    for program in (API, PAYINS_WORKER, SIMULATOR):
        environment = started_with(stack, program)
        own = stack.endpoints.outside({})
        if program is SIMULATOR:
            own["PURSER_SIMULATOR_WEBHOOK_URL"] = f"{stack.endpoints.api_url}/webhooks/stripe"
        assert {name: environment[name] for name in OUTSIDE if name in environment} == own
        found = {name for name, value in environment.items() if value in others}
        assert found <= {"PURSER_JWT_AUDIENCE"}  # the same word in every stack


@pytest.mark.parametrize("given", [{}, REAL_STRIPE])
def test_nothing_of_another_stack_or_of_the_real_stripe_gets_in(
    beside: Endpoints, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`purser up`, then `purser demo`: the demo buys at its own simulator, with its own tokens."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with own_stack("demo") as stack:
        assert_alone(stack, beside)
        os.environ.update(stack.endpoints.outside(os.environ))  # as the demo does
        assert os.environ["PURSER_JWKS_FILE"] == stack.endpoints.keys_file
    assert dict(os.environ) == before


def test_nothing_of_another_stack_gets_into_a_stack_for_tests(
    beside: Endpoints, tmp_path: Path
) -> None:
    before = dict(os.environ)
    with stack_in(tmp_path / "of a test") as stack:
        assert_alone(stack, beside)
    assert dict(os.environ) == before


def test_every_variable_that_takes_precedence_is_named(beside: Endpoints) -> None:
    """One that is missing in `OUTSIDE` would reach a stack that must be alone."""
    given = dict.fromkeys(OUTSIDE, "another")
    own = beside.outside({})
    assert own.keys() | {"PURSER_SIMULATOR_WEBHOOK_URL"} == set(OUTSIDE)
    assert not set(beside.outside(given).values()) & set(own.values())

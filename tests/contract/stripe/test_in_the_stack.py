"""The local stack runs the simulator: started, shown, killed and restarted as the others are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings
from stack.status import ProcessState
from tests.waiting import wait_until

NAME = "simulator"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack with the simulator alone; it needs no server."""
    with lend_port_base() as base:
        started = Stack(StackSettings(home=tmp_path / "home", port_base=base))
        try:
            started.up(())
            started.start_workers((NAME,))
            yield started
        finally:
            started.down()


def client(stack: Stack) -> stripe.StripeClient:
    """The SDK with what `purser env` prints."""
    printed = stack.endpoints.outside({})
    return stripe.StripeClient(
        printed["PURSER_STRIPE_API_KEY"], base_addresses={"api": printed["PURSER_STRIPE_API_BASE"]}
    )


def test_it_is_started_shown_killed_and_restarted(stack: Stack) -> None:
    (shown,) = [each for each in stack.status() if each.name == NAME]
    assert (shown.state, shown.problem) == (ProcessState.RUNNING, None)
    reports = wait_until(lambda: stack.worker_reports().get(NAME), "its report")
    assert reports is not None
    assert reports["webhooks_waiting"] == 0
    made = client(stack).v1.payment_intents.create({"amount": 500, "currency": "eur"})
    pid = stack.pid(NAME)
    stack.kill(NAME)
    wait_until(lambda: stack.pid(NAME) not in (None, pid), "it is started again")
    stack.wait_ready(NAME)
    kept = client(stack).v1.payment_intents.list().data
    assert [each.id for each in kept] == [made.id]


def test_only_the_key_of_the_stack_is_accepted(stack: Stack) -> None:
    stranger = stripe.StripeClient(
        "sk_test_stranger", base_addresses={"api": stack.endpoints.simulator_url}
    )
    with pytest.raises(stripe.AuthenticationError):
        stranger.v1.balance.retrieve()


def test_the_real_stripes_secrets_never_reach_it(stack: Stack) -> None:
    given = {
        "PURSER_STRIPE_API_BASE": "https://api.stripe.com",
        "PURSER_STRIPE_API_KEY": "sk_live_secret",
        "PURSER_STRIPE_WEBHOOK_SECRET": "whsec_live",
    }
    endpoints = stack.endpoints
    assert endpoints.outside(given).items() >= given.items()
    told = endpoints.simulator(given)
    assert told["PURSER_STRIPE_API_KEY"] == endpoints.stripe_api_key
    assert told["PURSER_STRIPE_WEBHOOK_SECRET"] == endpoints.stripe_webhook_secret
    assert "PURSER_SIMULATOR_WEBHOOK_URL" not in told

"""Live traffic: what its report counts."""

from threading import Event as Flag

import pytest

from marketplace import traffic
from marketplace.market import Step
from marketplace.traffic import Traffic, run_in_background
from schemas.errors import ServiceUnavailable
from schemas.lifecycle import EventType
from tests.builders import a_payment, a_payout
from tests.events import pay_in, payout
from writer.append import Answer, Appended
from writer.commands import AnyCommand, CreatePayment


class _Writer:
    """Appends a payment of two orders, or a payout."""

    def handle(self, command: AnyCommand) -> Answer:
        if isinstance(command, CreatePayment):
            return Appended((pay_in(EventType.CREATED), pay_in(EventType.CREATED, seq=2)))
        return Appended((payout(EventType.REQUESTED),))


class _Down:
    """Cannot be reached, and will not be."""

    def __init__(self) -> None:
        self.was_asked = Flag()

    def handle(self, _command: AnyCommand) -> Answer:
        self.was_asked.set()
        raise ServiceUnavailable("PostgreSQL does not answer")


class _Broken:
    """Cannot handle anything, for a reason that nobody has foreseen."""

    def handle(self, _command: AnyCommand) -> Answer:
        raise AssertionError("a lane died")


def test_a_lane_that_dies_ends_the_run_and_is_told() -> None:
    steps = (Step(at_seconds=0, life=0, command=a_payment()) for _ in range(10_000))
    with pytest.raises(AssertionError, match="a lane died"):
        Traffic(_Broken(), steps).run()


def test_payouts_are_events_and_no_payments() -> None:
    commands: list[AnyCommand] = [a_payment(), a_payout(), a_payment(), a_payout(), a_payout()]
    steps = [Step(at_seconds=0, life=0, command=command) for command in commands]
    report = Traffic(_Writer(), steps).run()
    assert (report.commands, report.payments, report.events) == (5, 2, 7)


def test_a_stopped_run_tells_that_a_command_could_never_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "STOPPED_SECONDS_MAX", 0.0)
    down = _Down()
    finish = run_in_background(Traffic(down, [Step(at_seconds=0, life=0, command=a_payment())]))
    assert down.was_asked.wait(60)
    with pytest.raises(ServiceUnavailable, match="PostgreSQL does not answer"):
        finish()

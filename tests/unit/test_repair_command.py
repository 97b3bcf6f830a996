"""`purser repair`: what it prints and how it ends, for every way a repair can go."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

import cli.repair as command
from operations.repair import Extent, Options, Outcome, Part, Plan, RepairRefused, Step
from operations.verify import Report, Verdict
from schemas.errors import ServiceUnavailable

PROBLEM = "replication slot purser does not exist"
NOTHING = Outcome(plan=Plan(part=Part.SLOT, problems=()))
PLAN = Plan(part=Part.SLOT, problems=(PROBLEM,), steps=(Step.DROP_SLOT, Step.VERIFY))
EXTENT = Extent(
    events=1_000_000, missing=12, to_send=400_000, since=datetime(2026, 3, 1, 8, tzinfo=UTC)
)
PLANNED = Outcome(plan=PLAN, extent=EXTENT)


def done(verdict: Verdict) -> Outcome:
    return Outcome(plan=PLAN, extent=EXTENT, report=Report(verdict=verdict))


def run(
    monkeypatch: pytest.MonkeyPatch, found: Outcome | BaseException, *options: str
) -> tuple[int, str]:
    """Exit status and standard output of `purser repair slot`."""

    def repair(part: Part, given: Options) -> Outcome:
        assert part is Part.SLOT
        if isinstance(found, BaseException):
            raise found
        given.on_plan(found.plan)
        return found

    monkeypatch.setattr(command, "run", repair)
    result = CliRunner().invoke(command.repair, ["slot", *options])
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("found", "code", "status"),
    [
        (NOTHING, 0, "nothing to do"),
        (PLANNED, 1, "needed"),
        (done(Verdict.EQUAL), 0, "healed"),
        (done(Verdict.DIVERGED), 1, "not healed"),
        (done(Verdict.UNDECIDED), 2, "not healed"),
        (RepairRefused("grant it"), 2, "failed"),
        (ServiceUnavailable("Kafka is down"), 2, "failed"),
    ],
)
def test_each_end_has_its_status_and_one_object(
    monkeypatch: pytest.MonkeyPatch, found: Outcome | BaseException, code: int, status: str
) -> None:
    ended, out = run(monkeypatch, found, "--json")
    assert (ended, json.loads(out)["status"]) == (code, status)
    assert run(monkeypatch, found)[0] == code


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, KeyboardInterrupt())[0] == 130


def test_a_plan_shows_problems_steps_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    _, out = run(monkeypatch, PLANNED)
    assert PROBLEM in out
    assert " 1. drop the replication slot" in out
    assert "12 events are not in the views" in out
    assert "sends 400,000 of 1,000,000 events again" in out
    assert "since 2026-03-01 08:00 UTC" in out
    assert "nothing was changed; `purser repair slot --apply` does it" in out

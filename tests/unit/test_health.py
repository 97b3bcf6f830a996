"""Health that compares the ends: facts go in, problems in words come out."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.status import Report, Verdict, show
from connectors.debezium.client import ConnectorHealth, TaskHealth
from connectors.debezium.publication import Publication
from connectors.debezium.slot import SlotHealth
from connectors.debezium.topic import KEPT_WHOLE
from operations.health.checkup import (
    Findings,
    connector_problem,
    publication_problems,
    slot_problems,
)
from operations.health.ends import (
    WINDOW_SECONDS,
    AgedEvent,
    judge,
    newest_age,
    spoken,
)
from operations.health.states import RUN_BOOK, LoudState, Problem
from operations.health.topic import TopicHealth, topic_health
from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from sinks.source_topics import ReadTopic
from stack.disk import Disk
from streams.source_topic import ReaderGroup, SourceTopic

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT = 30.0
A, B, C = AgedEvent("a", 1, 31.0), AgedEvent("a", 2, 45.0), AgedEvent("b", 1, 7_300.0)
FIRST = ReadTopic("id-1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
SECOND = ReadTopic("id-2", datetime(2026, 2, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("newest", "visible", "words"),
    [
        ([], set(), ""),
        ([A, B, C], {A[:2], B[:2], C[:2]}, ""),
        ([A], set(), "the newest event, recorded 31 s ago, is not visible in ClickHouse"),
        (
            [A, B, C],
            set(),
            "the newest event, recorded 31 s ago, is not visible in ClickHouse; nor are 2 more of"
            " the newest 3, the oldest recorded 2 h 1 min ago",
        ),
        ([A, B], {A[:2]}, "an event, recorded 45 s ago, is not visible in ClickHouse"),
    ],
)
def test_events_that_are_not_visible(
    newest: list[AgedEvent], visible: set[tuple[str, int]], words: str
) -> None:
    found = judge(newest, visible, LIMIT)
    assert [problem.text for problem in found.problems()] == ([words] if words else [])
    assert found.compared == len(newest)
    assert found.invisible == len({event[:2] for event in newest} - visible)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-0.3, "0 s"), (44.6, "45 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"),
     (7_260, "2 h 1 min"), (200_000, "2 days")],
)  # fmt: skip
def test_a_duration_in_words_is_never_negative(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


@pytest.mark.parametrize("age", [30.0, 30.001, 39.9, 40.1, 95.0, 3_600.0, 90_000.0, 9.4e8])
def test_the_newest_event_is_found_in_few_short_windows(age: float) -> None:
    asked = []

    def is_empty(low: float, high: float) -> bool:
        asked.append((low, high))
        return not low <= age < high

    found = newest_age(is_empty, LIMIT)
    assert found is not None
    assert found <= age < found + WINDOW_SECONDS
    assert len(asked) < 50
    # Nothing that is newer was skipped, and no window that holds the event was read whole.
    assert min(low for low, _ in asked) == LIMIT


def test_a_table_without_events_has_no_newest_one() -> None:
    assert newest_age(lambda _low, _high: True, LIMIT) is None


def topic(
    found: SourceTopic | None = SourceTopic(topic_id="id-1", partitions=frozenset({0, 1})),  # noqa: B008 - frozen
    *,
    state: str = "STABLE",
    owned: tuple[int, ...] = (0, 1),
    firsts: dict[int, int] | None = None,
    read: tuple[ReadTopic, ...] = (FIRST,),
    **config: str,
) -> TopicHealth:
    return topic_health(
        PAYMENTS_TOPIC,
        VIEWS_CONSUMER,
        found,
        ReaderGroup(state=state, owners=dict.fromkeys(owned, "m")),
        first_offsets={0: 0, 1: 0} if firsts is None else firsts,
        config=KEPT_WHOLE | {name.replace("_", "."): value for name, value in config.items()},
        topics_read=read,
    )


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (topic(), None, ""),
        (topic(read=()), None, ""),
        (
            topic(None, state="EMPTY", owned=()),
            "topic-missing",
            "topic purser.public.payments does not exist",
        ),
        (
            topic(read=(FIRST, SECOND), found=SourceTopic(topic_id="id-2", partitions=frozenset())),
            "topic-made-anew",
            "was deleted and made anew; read since 2026-02-02 03:04:05 UTC",
        ),
        (
            topic(read=(FIRST,), found=SourceTopic(topic_id="id-2", partitions=frozenset())),
            "topic-made-anew",
            "was deleted and made anew: events that were only in the old one are missing",
        ),
        (topic(owned=(1,)), "partitions-unread", "no views worker reads partition 0 of topic"),
        (topic(owned=()), "partitions-unread", "no views worker reads partition 0, 1 of topic"),
        (topic(owned=(), state="COMPLETING_REBALANCING"), None, ""),
        (topic(owned=(), state="EMPTY"), "partitions-unread", "group purser-views has no members"),
        (topic(owned=(), state="DEAD"), "partitions-unread", "group purser-views has no members"),
        (topic(firsts={0: 0, 1: 7}), "topic-cut-off", "lost its first records, although it is to"),
        (topic(firsts={0: 0, 1: 7}, retention_ms="1000"), None, ""),
        (topic(cleanup_policy="compact"), "topic-cut-off", "removes all but a payment's last"),
    ],
)
def test_topic_and_readers(found: TopicHealth, state: str | None, words: str) -> None:
    problems = found.problems()
    assert [problem.state.value for problem in problems] == ([state] if state else [])
    assert all(words in problem.text for problem in problems)


def slot(**changes: object) -> SlotHealth:
    values: dict[str, object] = {
        "name": "purser",
        "active": False,
        "wal_status": "reserved",
        "invalidation_reason": None,
        "lag_bytes": 0,
        "safe_bytes": 100,
        "heartbeat_age_seconds": 1.0,
    }
    return SlotHealth(**(values | changes))  # type: ignore[arg-type]


def connector(state: str, *tasks: str) -> ConnectorHealth:
    return ConnectorHealth(
        name="purser-payments",
        state=state,
        error=None,
        tasks=tuple(
            TaskHealth(number=number, state=each, error="no") for number, each in enumerate(tasks)
        ),
    )


def disk_problem(free_bytes: int) -> str:
    disk = Disk(folder=Path("/data"), free_bytes=free_bytes, low_bytes=1 << 31)
    assert disk.problem
    return disk.problem


PRINTED: Mapping[str, Sequence[str | Problem]] = {
    "stack-down": ["the stack is not running; `purser up` starts it"],
    "process": ["kafka is stopped", "views-worker is unhealthy: starting",
                "ClickHouse does not answer: refused"],
    "disk": [disk_problem(1 << 30), disk_problem(0)],
    "not-examined": ["PostgreSQL did not return replication slot purser: no",
                     "Kafka at k:1 does not describe topic t: no; check that it runs"],
    "slot-missing": slot_problems(slot(wal_status=None), 5.0),
    "slot-lost": slot_problems(slot(wal_status="lost", invalidation_reason="wal_removed"), 5.0),
    "slot-unread": slot_problems(
        slot(wal_status="unreserved", heartbeat_age_seconds=99.0, safe_bytes=0), 5.0
    ),
    "publication": publication_problems(Publication(name="purser", exists=False))
    + publication_problems(Publication(name="purser", exists=True)),
    "connector-unregistered": [connector_problem(connector("UNREGISTERED"))],
    "connector-halted": [connector_problem(connector("PAUSED", "PAUSED")),
                         connector_problem(connector("STOPPED"))],
    "connector-failed": [connector_problem(connector("RUNNING", "FAILED")),
                         connector_problem(connector("RUNNING"))],
    "topic-missing": topic(None).problems(),
    "topic-made-anew": topic(read=(SECOND,)).problems(),
    "topic-cut-off": topic(firsts={0: 5}).problems() + topic(cleanup_policy="compact").problems(),
    "partitions-unread": topic(owned=(), state="EMPTY").problems() + topic(owned=(1,)).problems(),
    "events-invisible": judge([A], set(), LIMIT).problems(),
}  # fmt: skip
"""What `purser status` prints in each loud state."""

PAGE = (CHECKOUT / RUN_BOOK).read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([\w-]+)\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE))


def test_the_run_book_has_a_section_for_every_loud_state() -> None:
    assert set(SECTIONS) == set(LoudState)


@pytest.mark.parametrize("state", LoudState)
def test_a_section_says_what_the_state_means_and_what_heals_it(state: LoudState) -> None:
    assert re.search(r"^\*\*It says:\*\* ", SECTIONS[state], re.MULTILINE)
    assert re.search(r"^\*\*It means:\*\* ", SECTIONS[state], re.MULTILINE)
    assert re.search(r"^\*\*Heal it:\*\* ", SECTIONS[state], re.MULTILINE)


@pytest.mark.parametrize("state", LoudState)
def test_what_is_printed_is_found_in_the_run_book(state: LoudState) -> None:
    said = SECTIONS[state].split("**It means:**")[0].replace("\n", " ")
    quoted = [".*".join(map(re.escape, each.split("…"))) for each in re.findall(r"`([^`]+)`", said)]
    unquoted = []
    for printed in PRINTED[state]:
        text = printed if isinstance(printed, str) else printed.text
        assert isinstance(printed, str) or printed.state is state
        if not any(re.search(each, text.replace("`", "")) for each in quoted):
            unquoted.append(text)
    assert unquoted == []


def test_a_report_is_one_json_object_and_lines_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = Findings(
        slot=slot(),
        publication=Publication(name="purser", exists=False),
        connector=connector("RUNNING", "FAILED"),
        topic=topic(read=(FIRST, SECOND)),
        ends=judge([A, B], {A[:2]}, LIMIT),
        dead_letters_open=3,
    )
    problem = Problem(state=LoudState.PUBLICATION, text="publication purser does not exist")
    found = Report(
        verdict=Verdict.UNHEALTHY, loud=(problem,), processes=(), findings=findings, workers={}
    )
    document = json.loads(json.dumps(found.as_json()))
    assert document["problems"] == ["publication purser does not exist"]
    assert document["states"] == ["publication"]
    assert document["topic"]["topics_read"][0]["first_read_at"] == "2026-01-02T03:04:05Z"
    assert document["ends"]["invisible"] == 1
    show(found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == [
        "replication slot: purser inactive, WAL reserved, 0 bytes behind, last heartbeat 1 s ago",
        "publication: purser does not exist",
        "connector: purser-payments RUNNING, task 0 FAILED",
        "topic: purser.public.payments, 2 of 2 partitions read, group purser-views stable",
        "newest events: 1 of 2 older than 30 s are not visible, the newest recorded 31 s ago",
        "dead letters: 3 open",
        "problem: publication purser does not exist",
        "  see docs/reference/status.md#publication",
        "unhealthy",
    ]

"""From facts to steps: what is wrong, what a repair would do, and in which order. Pure.

Every step can be repeated, and the facts after any of them lead to the steps that are left. So a
repair that was killed is run again, and needs no memory of its own.
"""

from dataclasses import dataclass
from enum import StrEnum

from operations.repair.facts import Facts


class Part(StrEnum):
    """What can be repaired. A later part's repair includes the earlier ones'."""

    SLOT = "slot"
    PUBLICATION = "publication"
    TOPIC = "topic"


class Step(StrEnum):
    """The steps of a repair, in their order; the text is for people."""

    MEASURE = "count which events the views have from the topic"
    STOP_CONNECTOR = "stop the connector: writers go on, the views stand still"
    REGISTER_STOPPED = "register the connector, stopped"
    DROP_SLOT = "drop the replication slot"
    MAKE_PUBLICATION = "make the publication as the migration does"
    FORGET_OFFSETS = "forget the connector's position"
    DELETE_TOPIC = "delete the payments topic, which lacks its first records"
    CREATE_TOPIC = "create the payments topic"
    CONFIGURE_TOPIC = "give the payments topic its settings"
    CREATE_DEAD_LETTERS = "create the topic of the dead letters"
    FORGET_PROGRESS = "forget the workers' progress in the earlier topic"
    SNAPSHOT = "start the connector: a new slot, and a snapshot that belongs to it"
    REGISTER = "register the connector"
    RESUME = "start the connector"
    AWAIT_STREAM = "wait until Debezium has sent its snapshot and reads the new slot"
    WHOLE_CONFIG = "let later snapshots take all of history again"
    FORGET_LATE_PROGRESS = "forget what workers still noted of the earlier topic"
    FORGET_TOPICS = "note that the topic is whole"
    REBUILD_POSITIONS = "rebuild payment_events, whose rows name offsets of the earlier topic"
    VERIFY = "verify: PostgreSQL = ClickHouse"


_NEW_SLOT = (
    Step.DROP_SLOT,
    Step.FORGET_OFFSETS,
    Step.SNAPSHOT,
    Step.AWAIT_STREAM,
)
# Before the snapshot, progress in the earlier topic would hide that of the new one. A worker that
# has not yet learned of the new topic can still write some.
_ANOTHER_TOPIC = {
    Step.FORGET_PROGRESS,
    Step.FORGET_LATE_PROGRESS,
    Step.FORGET_TOPICS,
    Step.REBUILD_POSITIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The problems found and the steps against them, both empty if there is nothing to do.

    `everything`: the snapshot takes all of history. `refused` says why nothing can be done.
    """

    part: Part
    problems: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    everything: bool = False
    refused: str = ""

    @property
    def takes_snapshot(self) -> bool:
        """Whether Debezium reads the table again."""
        return Step.SNAPSHOT in self.steps


def make_plan(part: Part, facts: Facts, *, everything: bool = False, force: bool = False) -> Plan:
    """Decide what to do.

    `everything`: send all of history, even if a part would be enough. `force`: take the snapshot
    even if nothing seems wrong.
    """
    order = list(Part)
    place = order.index(part)
    mine = tuple(
        problem for each in reversed(order[: place + 1]) for problem in _PROBLEMS[each](facts)
    )
    for other in reversed(order[place + 1 :]):
        if (mine or force) and (theirs := _PROBLEMS[other](facts)):
            reason = f"{theirs[0]}; `purser repair {other}` heals this as well"
            return Plan(part=part, problems=mine, refused=reason)
    if not mine and not force:
        return Plan(part=part, problems=())
    steps = _steps(part, facts, force=force)
    if Step.DROP_SLOT in steps and not facts.may_drop_slot:
        return Plan(part=part, problems=mine, refused=_may_not(facts))
    whole = everything or _topic_needs_history(facts) or (force and part is Part.TOPIC)
    if whole and Step.SNAPSHOT in steps:
        steps.discard(Step.WHOLE_CONFIG)
    ordered = tuple(step for step in Step if step in steps)
    return Plan(part=part, problems=mine, steps=ordered, everything=whole)


def _steps(part: Part, facts: Facts, *, force: bool) -> set[Step]:
    steps = {Step.VERIFY}
    if facts.publication.problems():
        steps.add(Step.MAKE_PUBLICATION)
    if part is Part.TOPIC:
        steps |= _topic_steps(facts)
    if facts.partial_snapshot:
        steps.add(Step.WHOLE_CONFIG)
    if force or _needs_snapshot(part, facts):
        steps |= {Step.MEASURE, Step.WHOLE_CONFIG, *_NEW_SLOT}
        steps.add(Step.STOP_CONNECTOR if facts.registered else Step.REGISTER_STOPPED)
    elif not facts.registered:
        steps |= {Step.REGISTER, Step.AWAIT_STREAM}
    elif facts.halted:
        steps |= {Step.RESUME, Step.AWAIT_STREAM}
    elif facts.snapshot_runs:
        steps.add(Step.AWAIT_STREAM)
    if part is Part.TOPIC and force:
        steps |= _ANOTHER_TOPIC
    return steps


def _topic_steps(facts: Facts) -> set[Step]:
    topic, steps = facts.topic, set[Step]()
    if topic.cut_off:
        # Records cannot be put before others. PostgreSQL has them all.
        steps |= {Step.DELETE_TOPIC, Step.CREATE_TOPIC}
    if not topic.exists:
        steps.add(Step.CREATE_TOPIC)
    if topic.made_anew and topic.wrong_config:
        steps.add(Step.CONFIGURE_TOPIC)
    if not facts.dead_letters_exist:
        steps.add(Step.CREATE_DEAD_LETTERS)
    if _topic_needs_history(facts):
        steps |= _ANOTHER_TOPIC
    elif topic.stale_positions:
        steps |= {Step.FORGET_PROGRESS, Step.REBUILD_POSITIONS}
    return steps


def _needs_snapshot(part: Part, facts: Facts) -> bool:
    """Whether events have passed the stream by, so that only the table still has them."""
    if facts.publication.loses_events:
        return True
    history = part is Part.TOPIC and _topic_needs_history(facts)
    if facts.snapshot_runs and facts.topic.exists:
        # An earlier repair began it, and was killed.
        return history and facts.partial_snapshot
    return (
        history
        or facts.slot.wal_status is None
        or facts.slot.lost
        or facts.slot_is_new
        or facts.halted_without_snapshot
    )


def _topic_needs_history(facts: Facts) -> bool:
    return not facts.topic.exists or facts.topic.made_anew or bool(facts.topic.cut_off)


def _slot_problems(facts: Facts) -> list[str]:
    slot, found = facts.slot, []
    if slot.wal_status is None or slot.lost:
        found.append(slot.problems(heartbeat_seconds=1.0)[0])
    elif facts.slot_is_new:
        found.append(
            f"replication slot {slot.name} begins after Debezium's position: it was made anew, and"
            " events between the two are missing from Kafka"
        )
    elif facts.halted_without_snapshot:
        found.append(
            f"replication slot {slot.name} has no snapshot: the connector was stopped before it had"
            " sent one, or its position was deleted"
        )
    if not facts.registered or facts.halted:
        found.append(f"connector {facts.connector.name} is {facts.connector.state}")
    if facts.partial_snapshot:
        found.append("an earlier repair was interrupted: the connector's next snapshot is partial")
    return found


def _topic_problems(facts: Facts) -> list[str]:
    topic, found = facts.topic, []
    if not topic.exists:
        found.append(f"topic {topic.name} does not exist")
    elif topic.made_anew:
        found.append(
            f"topic {topic.name} was deleted and made anew: what the views had not read is gone,"
            " and a replay would lack what it does not hold"
        )
    if topic.cut_off:
        numbers = ", ".join(map(str, topic.cut_off))
        found.append(f"topic {topic.name} lacks its first records in partitions {numbers}")
    if topic.stale_positions and topic.exists and not topic.made_anew:
        found.append(f"the views name offsets that topic {topic.name} does not have")
    if topic.made_anew:  # else somebody has chosen them
        found += [
            f"topic {topic.name} has {key} = {value} instead of {right}"
            for key, (value, right) in topic.wrong_config.items()
        ]
    if not facts.dead_letters_exist:
        found.append(f"topic {facts.dead_letters_topic} does not exist")
    return found


_PROBLEMS = {
    Part.SLOT: _slot_problems,
    Part.PUBLICATION: lambda facts: list(facts.publication.problems()),
    Part.TOPIC: _topic_problems,
}


def _may_not(facts: Facts) -> str:
    return (
        f"the owner may not drop replication slot {facts.slot.name}: it must be able to act as"
        " Debezium's role. As a superuser: GRANT purser_cdc TO purser_owner WITH INHERIT FALSE,"
        " SET TRUE"
    )

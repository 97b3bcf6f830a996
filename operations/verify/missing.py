"""Decides whether an event that ClickHouse does not have is lost or still on its way.

Only evidence counts. An event is *lost* if the pipeline has already done something that comes
later:

- a later event of the same payment has arrived (one payment, one Kafka partition, in order);
- the event was parked among the dead letters;
- the slot has passed the event, and the topic holds no unread record of it (see `way`). There is
  one slot, and a slot hands out commits in one order. So it has passed an event if it has confirmed
  a position beyond the cut, and also if an event with a clearly later commit time has arrived in
  any partition;
- an event of the same partition with a clearly later commit time has arrived. Only this rule trusts
  a clock, PostgreSQL's own, and only to call a row lost or late, never to call it present;
- the pipeline marked an offset of its partition as written, but no row with that or a higher offset
  exists any more.

A replay from PostgreSQL writes rows without a position. They are no evidence about a partition, and
while there are any, an offset without a row proves nothing: its row may be one of them.

Every other event is *late*. Without Kafka's address, a lost row that was the last of its partition
looks like one that the pipeline has not delivered yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from operations.verify.cut import Cut
from operations.verify.source import EventKey, Fingerprint, Source
from operations.verify.views import PLACED, Views, utc, uuids
from operations.verify.way import UNKNOWN, Unread, Way
from schemas.sql_words import clickhouse_literal
from schemas.topics import PAYMENTS_TOPIC

COMMIT_ORDER_MARGIN = timedelta(seconds=1)
"""Commits are in the log in almost the order of their times: in order if this far apart."""
TRANSACTION_OPEN_MAX = timedelta(seconds=60)
"""Longest assumed time from insert to commit if PostgreSQL does not record commit times."""


class Fate(StrEnum):
    """The fate of an event that the comparison did not see in ClickHouse."""

    LOST = "missing"
    LATE = "late"
    ARRIVED = "arrived"
    OUTSIDE = "outside_the_cut"


class Judged(NamedTuple):
    """An event, its fate, and the evidence in words."""

    event: Fingerprint
    fate: Fate
    evidence: str


class _Payment(NamedTuple):
    """A payment in ClickHouse: its highest seq, and its Kafka partition if a row has a position."""

    seq_max: int
    partition: int | None


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All evidence for the judgement, read once; `partitions` are those with any record."""

    payments: Mapping[str, _Payment]
    present: Mapping[EventKey, Mapping[str, str]]
    parked: Mapping[tuple[str, int], str]
    committed: Mapping[EventKey, datetime]
    partitions: frozenset[int]
    arrived_until: Mapping[int, datetime]
    vanished: frozenset[int]
    passed: bool
    unread: Unread


def judge(
    missing: Sequence[Fingerprint], now: Source, views: Views, cut: Cut, way: Way
) -> list[Judged]:
    """Judge each of these events; `now` reads PostgreSQL outside of the cut."""
    keys = [(event.payment_id, event.seq) for event in missing]
    # In the order of the way: slot, topic, rows. What was acknowledged is read before the topic. A
    # record that moves on meanwhile is then seen twice, never missed.
    passed = way.passed()
    acknowledged, arrived_until = views.acknowledged(), _arrived_until(views)
    evidence = _Evidence(
        passed=passed,
        unread=way.unread(acknowledged) if missing else UNKNOWN,
        # Read the rows themselves last: an event that arrives meanwhile is then seen as arrived.
        committed=now.commit_times(keys),
        arrived_until=arrived_until,
        partitions=frozenset(acknowledged.keys() | arrived_until.keys()),
        vanished=_vanished(views, acknowledged),
        parked=_parked(views, keys),
        payments=_payments(views, keys),
        present=views.events(keys),
    )
    return [Judged(event, *_judge(event, evidence, cut)) for event in missing]


def _judge(event: Fingerprint, evidence: _Evidence, cut: Cut) -> tuple[Fate, str]:
    key = (event.payment_id, event.seq)
    if row := evidence.present.get(key):
        if cut.holds(int(row["txid"]), op=row["op"], recorded_at=event.recorded_at):
            return Fate.ARRIVED, ""
        return Fate.OUTSIDE, f"in ClickHouse with txid {row['txid']}, which is outside {cut}"
    if where := evidence.unread.events.get(key):
        return Fate.LATE, where
    for parked_as in (key, (event.payment_id, 0)):
        if note := evidence.parked.get(parked_as):
            return Fate.LOST, note
    payment = evidence.payments.get(event.payment_id)
    if payment and payment.seq_max > event.seq:
        return Fate.LOST, f"event {payment.seq_max} of the same payment has arrived"
    partitions = evidence.partitions
    if payment and payment.partition is not None:
        partitions = frozenset({payment.partition})
    if partitions & evidence.vanished:
        return Fate.LOST, "rows that the pipeline marked as written are gone"
    committed = evidence.committed.get(key)
    later = (
        committed + COMMIT_ORDER_MARGIN if committed else event.recorded_at + TRANSACTION_OPEN_MAX
    )
    if partitions and partitions <= evidence.arrived_until.keys():
        reached = min(evidence.arrived_until[partition] for partition in partitions)
        if reached > later:
            return Fate.LOST, f"events committed until {reached.isoformat()} have arrived"
    return _on_its_way(key, payment, later, evidence)


def _on_its_way(
    key: EventKey, payment: _Payment | None, later: datetime, evidence: _Evidence
) -> tuple[Fate, str]:
    """Judge by the slot and the topic: if it has left the one and is not in the other, it is lost.

    `later`: an event committed after this time comes after this one.
    """
    arrived = max(evidence.arrived_until.values(), default=None)
    if evidence.passed:
        passed = "the replication slot has passed it"
    elif key in evidence.committed and arrived and arrived > later:
        passed = f"events committed until {arrived.isoformat()} have arrived"
    else:
        return Fate.LATE, ""
    if not evidence.unread.lacks(key, payment.partition if payment else None):
        return Fate.LATE, ""
    what = "no topic holds it" if evidence.unread.missing else "the topic holds no unread record"
    return Fate.LOST, f"{passed}, and {what}"


def _payments(views: Views, keys: Sequence[EventKey]) -> dict[str, _Payment]:
    ids = uuids({payment_id for payment_id, _ in keys})
    rows = views.rows(
        "SELECT toString(payment_id) AS id, toInt64(max(seq)),"
        f" anyOrNullIf(toInt64(kafka_partition), {PLACED})"
        f" FROM payment_events_raw WHERE payment_id IN ({ids}) GROUP BY id"
    )
    return {payment_id: _Payment(seq, partition) for payment_id, seq, partition in rows}


def _parked(views: Views, keys: Sequence[EventKey]) -> dict[tuple[str, int], str]:
    """Return (payment_id, seq) -> where its record is parked; seq is 0 if the record has none.

    A redriven record without a seq proves nothing, because it is an event by now. A redriven record
    with a seq does: its rows existed and are gone.
    """
    ids = ", ".join(
        clickhouse_literal(payment_id) for payment_id in {payment_id for payment_id, _ in keys}
    )
    rows = views.rows(
        "SELECT JSONExtractString(raw_key, 'payment_id') AS id,"
        " JSONExtractInt(raw_value, 'after', 'seq') AS parked_seq, toString(topic),"
        " toInt64(partition), toInt64(kafka_offset), toString(reason),"
        " if(state = 'open', '', ', redriven, but gone since')"
        f" FROM dead_letters WHERE id IN ({ids or clickhouse_literal('')})"
        " AND (state = 'open' OR parked_seq != 0)"
    )
    return {
        (payment_id, seq): f"in the dead letters: {topic}/{partition}/{offset}, {reason}{gone}"
        for payment_id, seq, topic, partition, offset, reason, gone in rows
    }


def _arrived_until(views: Views) -> dict[int, datetime]:
    """Return each partition's latest commit time that arrived by streaming.

    Rows of the initial snapshot carry the snapshot's time, which says nothing about order.
    """
    rows = views.rows(
        "SELECT toInt64(kafka_partition) AS p, max(committed_at)"
        " FROM payment_events_raw WHERE op != 'r' GROUP BY p"
    )
    return {partition: utc(moment) for partition, moment in rows}


def _vanished(views: Views, acknowledged: Mapping[int, int]) -> frozenset[int]:
    """Return the partitions whose progress is beyond every row; none if a row has no position."""
    if views.has_unplaced():
        return frozenset()
    written = views.frontier()
    parked: dict[int, int] = dict(
        views.rows(
            "SELECT toInt64(partition) AS p, toInt64(max(kafka_offset)) FROM dead_letters_raw"
            f" WHERE topic = {clickhouse_literal(PAYMENTS_TOPIC)} GROUP BY p"
        )
    )
    return frozenset(
        partition
        for partition, offset in acknowledged.items()
        if offset > max(written.get(partition, -1), parked.get(partition, -1))
    )

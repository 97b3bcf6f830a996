"""Of an event that ClickHouse does not have: is it lost, or still on its way?

Only evidence counts. An event is *lost* when something that the pipeline does later has been done:

- a later event of the same payment has arrived (one payment, one Kafka partition, in order);
- it was parked among the dead letters;
- an event of the same partition has arrived that was committed clearly later. Here, and nowhere
  else, a clock is trusted, PostgreSQL's own: to call a row lost or late, never to call it there;
- the pipeline noted an offset of its partition as written, and no row with that offset, or a
  higher one, exists any more.

Everything else is *late*. With both databases silent a lost row that was the last of its partition
cannot be told from one that the pipeline has not brought yet, except by the last rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from operations.verify.cut import Cut
from operations.verify.source import EventKey, Fingerprint, Source
from operations.verify.views import Views, literal, utc, uuids
from schemas.topics import PAYMENTS_TOPIC

COMMIT_ORDER_MARGIN = timedelta(seconds=1)
"""Commits reach the log in nearly the order of their times: not less than this apart."""
TRANSACTION_OPEN_MAX = timedelta(seconds=60)
"""Assumed between a row's insert and its commit where PostgreSQL does not note commit times."""


class Fate(StrEnum):
    """What became of an event that the comparison did not see in ClickHouse."""

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
    """What ClickHouse has of a payment: its highest seq and its Kafka partition."""

    seq_max: int
    partition: int


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Everything the judgement needs, read once."""

    payments: Mapping[str, _Payment]
    present: Mapping[EventKey, Mapping[str, str]]
    parked: Mapping[tuple[str, int], str]
    committed: Mapping[EventKey, datetime]
    arrived_until: Mapping[int, datetime]
    vanished: frozenset[int]


def judge(missing: Sequence[Fingerprint], now: Source, views: Views, cut: Cut) -> list[Judged]:
    """Decide about each of these events; `now` reads PostgreSQL outside of the cut."""
    keys = [(event.payment_id, event.seq) for event in missing]
    evidence = _Evidence(
        # First what may only grow for the better, the rows themselves last: an event that arrives
        # meanwhile is then seen as arrived.
        committed=now.commit_times(keys),
        arrived_until=_arrived_until(views),
        vanished=_vanished(views),
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
        return Fate.OUTSIDE, f"ClickHouse has it with txid {row['txid']}, not in {cut}"
    for parked_as in (key, (event.payment_id, 0)):
        if note := evidence.parked.get(parked_as):
            return Fate.LOST, note
    payment = evidence.payments.get(event.payment_id)
    if payment and payment.seq_max > event.seq:
        return Fate.LOST, f"event {payment.seq_max} of the same payment has arrived"
    partitions = [payment.partition] if payment else list(evidence.arrived_until)
    if any(partition in evidence.vanished for partition in partitions):
        return Fate.LOST, "rows that the pipeline noted as written are gone"
    committed = evidence.committed.get(key)
    later = (
        committed + COMMIT_ORDER_MARGIN if committed else event.recorded_at + TRANSACTION_OPEN_MAX
    )
    reached = [
        evidence.arrived_until[partition]
        for partition in partitions
        if partition in evidence.arrived_until
    ]
    if reached and min(reached) > later:
        return Fate.LOST, f"events committed until {min(reached).isoformat()} have arrived"
    return Fate.LATE, ""


def _payments(views: Views, keys: Sequence[EventKey]) -> dict[str, _Payment]:
    ids = uuids({payment_id for payment_id, _ in keys})
    rows = views.rows(
        "SELECT toString(payment_id) AS id, toInt64(max(seq)), toInt64(any(kafka_partition))"
        f" FROM payment_events_raw WHERE payment_id IN ({ids}) GROUP BY id"
    )
    return {payment_id: _Payment(seq, partition) for payment_id, seq, partition in rows}


def _parked(views: Views, keys: Sequence[EventKey]) -> dict[tuple[str, int], str]:
    """(payment_id, seq) -> where its record is parked; seq 0 when the record does not say.

    One that was redriven is an event by now, so where it does not say which it tells nothing more;
    where it does, its rows were there and are gone.
    """
    ids = ", ".join(literal(payment_id) for payment_id in {payment_id for payment_id, _ in keys})
    rows = views.rows(
        "SELECT JSONExtractString(raw_key, 'payment_id') AS id,"
        " JSONExtractInt(raw_value, 'after', 'seq') AS parked_seq, toString(topic),"
        " toInt64(partition), toInt64(kafka_offset), toString(reason),"
        " if(state = 'open', '', ', redriven, but gone since')"
        f" FROM dead_letters WHERE id IN ({ids or literal('')})"
        " AND (state = 'open' OR parked_seq != 0)"
    )
    return {
        (payment_id, seq): f"in the dead letters: {topic}/{partition}/{offset}, {reason}{gone}"
        for payment_id, seq, topic, partition, offset, reason, gone in rows
    }


def _arrived_until(views: Views) -> dict[int, datetime]:
    """Partition -> the latest commit time that has arrived by streaming.

    Rows of the initial snapshot bear the snapshot's time, which says nothing about order.
    """
    rows = views.rows(
        "SELECT toInt64(kafka_partition) AS p, max(committed_at)"
        " FROM payment_events_raw WHERE op != 'r' GROUP BY p"
    )
    return {partition: utc(moment) for partition, moment in rows}


def _vanished(views: Views) -> frozenset[int]:
    """Partitions whose progress names an offset beyond every row that exists."""
    acknowledged = views.acknowledged()
    written = views.frontier()
    parked: dict[int, int] = dict(
        views.rows(
            "SELECT toInt64(partition) AS p, toInt64(max(kafka_offset)) FROM dead_letters_raw"
            f" WHERE topic = {literal(PAYMENTS_TOPIC)} GROUP BY p"
        )
    )
    return frozenset(
        partition
        for partition, offset in acknowledged.items()
        if offset > max(written.get(partition, -1), parked.get(partition, -1))
    )

"""Waits until nothing is open between Purser and the PSP: every request has its outcome.

A payment that waits for a buyer is not open, and one that waits for a bank only if that is asked
for: both can take days.
"""

import time
from collections.abc import Mapping
from typing import Any

import psycopg

LOOK_SECONDS = 0.5

_CHARGES = """
SELECT count(DISTINCT payment_id)
FROM (SELECT DISTINCT ON (payment_id, order_id) payment_id, status, event_type
      FROM payments WHERE direction = 'in' ORDER BY payment_id, order_id, seq DESC) AS latest
WHERE status = ANY(%(statuses)s)
  AND (event_type <> 'created'
       OR (SELECT details ->> 'flow' FROM payments AS first
           WHERE first.payment_id = latest.payment_id AND first.seq = 1)
          IN ('direct', 'hosted'))
"""
# What was only put down, to be confirmed later, asks for nothing.
_REQUESTS = """
SELECT count(*) FROM payments AS asked
WHERE event_type = %(request)s AND NOT EXISTS (
    SELECT FROM payments AS outcome
    WHERE outcome.payment_id = asked.payment_id AND outcome.order_id = asked.order_id
      AND outcome.seq > asked.seq AND outcome.event_type = ANY(%(outcomes)s)
      AND outcome.details ->> 'refund_id' IS NOT DISTINCT FROM asked.details ->> 'refund_id')
"""
OUTCOMES = {
    "capture_requested": ["captured", "capture_failed", "failed", "cancelled", "expired"],
    "cancel_requested": ["cancelled", "cancel_failed", "captured", "failed", "expired"],
    "refund_requested": ["refunded", "refund_failed"],
}
"""Event that asks the PSP for something -> events that answer it."""


def open_requests(reader_dsn: str, *, banks: bool = False) -> dict[str, int]:
    """What was asked of the PSP and has no outcome yet: what -> how often, without zeros."""
    statuses = ["created", "unknown", *(["processing"] if banks else [])]
    with psycopg.connect(reader_dsn) as connection:
        found = {"charge": _count(connection, _CHARGES, {"statuses": statuses})}
        for request, outcomes in OUTCOMES.items():
            asked = {"request": request, "outcomes": outcomes}
            found[request] = _count(connection, _REQUESTS, asked)
    return {what: times for what, times in found.items() if times}


def wait_until_settled(reader_dsn: str, seconds: float, *, banks: bool = False) -> dict[str, int]:
    """Wait for every outcome, for a bounded time; return what is still open.

    With `banks` also for payments that a bank works on, for when days have passed at the PSP.
    """
    deadline = time.monotonic() + seconds
    while (left := open_requests(reader_dsn, banks=banks)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return left


def _count(
    connection: psycopg.Connection[Any], query: str, parameters: Mapping[str, object]
) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    count: int = row[0]
    return count

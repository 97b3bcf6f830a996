"""Proof that ClickHouse holds exactly what PostgreSQL holds, under live traffic.

    settings.py        the two servers, with reading roles
    cut.py             which ClickHouse rows belong to a PostgreSQL snapshot, by transaction id only
    columns.py         one text per event, the same in both databases
    source.py          PostgreSQL: the cut, fingerprints, single rows
    views.py           ClickHouse: a reading client that spills to disk
    events.py          payments = payment_events, to the row
    way.py             the slot and the topic between both: what the views have not read yet
    missing.py         decides whether a row missing in ClickHouse is lost or late
    compare.py         compares views key by key, and again while traffic moves them
    old_rows.py        today's meaning of rows of older schema versions, in SQL
    event_question.py  what the questions about events have in common
    postings.py        questions about postings and balance
    states.py          questions about orders, payouts, refunds and sequences
    revenue.py         the question about sellers' totals
    balances.py        the question about sellers' balances
    accounts.py        the questions about accounts' days and balances
    wide.py            the type in which sums of money are added up
    report.py          findings, results, the report and its JSON
    checks.py          the table of checks and what each proves
    run.py             runs all checks in order and gives the verdict

It stands beside the live path and only reads. It must never rely on an offset, an LSN or a clock to
call anything equal.
"""

from operations.verify.report import CheckResult, Finding, Report, Verdict
from operations.verify.run import Options, verify
from operations.verify.settings import VerifySettings
from operations.verify.source import Window

__all__ = [
    "CheckResult",
    "Finding",
    "Options",
    "Report",
    "Verdict",
    "VerifySettings",
    "Window",
    "verify",
]

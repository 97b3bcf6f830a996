"""Proof that ClickHouse holds what PostgreSQL holds, exactly and under live traffic.

    settings.py   which two servers, as reader
    cut.py        what of ClickHouse belongs to a PostgreSQL snapshot, by transaction ids alone
    columns.py    one text of an event, the same in both databases
    source.py     PostgreSQL: the cut, fingerprints, single rows
    views.py      ClickHouse: a reading client that spills to disk instead of growing
    events.py     payments = payment_events, to the row
    missing.py    of a row that ClickHouse does not have: lost, or still on its way?
    keyed.py      views against each other, key by key, looked at again while traffic moves them
    meaning.py    what rows of older schema versions mean today, in SQL
    derived.py    what the questions that keyed.py asks have in common
    ledger.py     a question each: postings, balance
    latest.py     orders, payouts, refunds, sequences
    revenue.py    sellers' totals
    report.py     findings, results, the report and its JSON
    checks.py     the table of checks: what each proves
    run.py        all of them in order, and the verdict

It stands beside the way of the data and only reads. It must never trust an offset, an LSN or a
clock where it says "equal".
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

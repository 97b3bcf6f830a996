"""The fold: from an event to the rows of every view, pure.

    postings.py   event -> double-entry legs, by a table of rules
    rows.py       event -> one row for each table
    batch.py      records -> rows, touched totals, dead letters, progress

The same event at the same position always gives the same rows, so that writing them again changes
nothing: this is what makes at-least-once delivery exact, and a replay bit-identical. No clock, no
randomness, no state, no input or output.
"""

from streams.fold.batch import FoldedBatch, fold, fold_batch, revenue_keys
from streams.fold.postings import POSTING_RULES, SELLER_ACCOUNTS, postings

__all__ = [
    "POSTING_RULES",
    "SELLER_ACCOUNTS",
    "FoldedBatch",
    "fold",
    "fold_batch",
    "postings",
    "revenue_keys",
]

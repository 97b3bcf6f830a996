"""The fold: from an event to the rows of every view, pure.

    decode_batch.py   records -> events, the usual ones without an object for an id or a time
    postings.py       event -> double-entry legs, by a table of rules
    rows.py           events -> columns of each table
    batch.py          records -> columns, touched totals, dead letters, progress

The same event at the same position always gives the same rows, so that writing them again changes
nothing: this is what makes at-least-once delivery exact, and a replay bit-identical. No clock, no
randomness, no state, no input or output.
"""

from streams.fold.batch import FOLDED_TABLES, FoldedBatch, fold, fold_batch
from streams.fold.postings import POSTING_RULES, postings

__all__ = [
    "FOLDED_TABLES",
    "POSTING_RULES",
    "FoldedBatch",
    "fold",
    "fold_batch",
    "postings",
]

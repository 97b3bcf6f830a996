"""The fold: a pure function from an event to the rows of every view.

    decode_batch.py   records -> events; ordinary ones without Python objects for ids and times
    postings.py       event -> double-entry legs, from a table of rules
    rows.py           events -> columns of each table
    batch.py          records -> columns, touched totals, dead letters, progress

The same event at the same position always gives the same rows, so writing them again changes
nothing. This makes at-least-once delivery exact and a replay bit-identical. The fold must use no
clock, no randomness, no state, and no input or output.
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

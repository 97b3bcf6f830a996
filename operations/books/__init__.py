"""Proof that a PSP's books and `payments` agree, to the cent, while both sides move.

    settings.py    PostgreSQL's reading role
    psps.py        whose books can be read
    recorded.py    our side: what the events of `payments` say about the money at the PSP
    workbook.py    both sides beside each other, on disk: memory does not grow with the books
    suspects.py    what differs: looked at again until it agrees, is proven, or time is up
    run.py         reads both sides, compares, gives the verdict
    report.py      the report and its JSON

It only reads, on both sides, and moves no money. Time alone never makes a difference disappear: it
says only from when on money that is on its way counts as one.
"""

from operations.books.report import Report, Verdict
from operations.books.run import Options, compare_books
from operations.books.settings import BooksSettings

__all__ = ["BooksSettings", "Options", "Report", "Verdict", "compare_books"]

"""Dead letters: an operator inspects them, judges them again and redrives them.

    position.py   where a record lay: TOPIC/PARTITION/OFFSET
    audit.py      the audit row of a redrive, which is never rebuilt
    letter.py     parked records as values
    store.py      ClickHouse: parked records, and which of a fold's rows exist already
    judge.py      what today's code makes of a record; pure
    plan.py       what a redrive would change
    redrive.py    writes rows, then totals, then the audit row

It stands beside the live path. The worker parks a record; a redrive decodes and folds it again with
the same code at its original position, so its rows are the ones it would have had immediately. The
table `dead_letters` is the source. A redrive must never change what is parked.
"""

from operations.dead_letters.judge import Judgement, judge
from operations.dead_letters.letter import (
    Chosen,
    Letter,
    Listed,
    Redrive,
    State,
    Summary,
)
from operations.dead_letters.plan import Plan, StillDead, make_plan
from operations.dead_letters.position import Position
from operations.dead_letters.redrive import Outcome, redrive
from operations.dead_letters.store import DeadLetters

__all__ = [
    "Chosen",
    "DeadLetters",
    "Judgement",
    "Letter",
    "Listed",
    "Outcome",
    "Plan",
    "Position",
    "Redrive",
    "State",
    "StillDead",
    "Summary",
    "judge",
    "make_plan",
    "redrive",
]

"""Dead letters looked at, judged again, and redriven by an operator.

    position.py   where a record lay: TOPIC/PARTITION/OFFSET
    audit.py      the note of a redrive: a row that is never rebuilt
    letter.py     what is parked, as values
    store.py      ClickHouse: what is parked and chosen, what of a fold's rows is there already
    judge.py      what the present code makes of a record, pure
    plan.py       what a redrive would change, before it does
    redrive.py    rows, then totals, then the note

Beside the way of the data: the worker parks, here a record goes the worker's way once more, by the
same decode and the same fold, at its original position. So its rows are those that it would have
had at once. The table `dead_letters` is the source; it must never change what is parked.
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

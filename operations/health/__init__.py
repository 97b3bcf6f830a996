"""Health that compares the ends: what PostgreSQL holds, and what ClickHouse shows.

That no part reports a lag proves little: a part that is missing reports nothing. So `purser status`
looks for the newest events of PostgreSQL in ClickHouse, and at everything on the way between: slot,
publication, connector, topic, and the readers of its partitions. It only reads.

    states.py    the loud states, and what a problem is
    settings.py  when an event that has not come out is a problem
    ends.py      PostgreSQL's newest events, looked up in ClickHouse
    topic.py     the topic, its settings and its readers
    checkup.py   examines every part, in the order of an event's way
"""

from operations.health.checkup import Findings, examine
from operations.health.ends import Ends
from operations.health.states import LoudState, Problem
from operations.health.topic import TopicHealth

__all__ = ["Ends", "Findings", "LoudState", "Problem", "TopicHealth", "examine"]

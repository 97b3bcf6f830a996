"""Heal what stops events on their way: the replication slot, the publication, the payments topic.

    settings.py  addresses of the servers
    facts.py     what a repair has to know, as plain values
    look.py      asks the servers for the facts
    plan.py      facts -> problems and steps; pure
    extent.py    how much a snapshot has to send: only what Kafka may lack
    patience.py  when waiting for Debezium is in vain; pure
    world.py     does the steps
    run.py       a repair from the look at the servers to the proof

PostgreSQL has every event. A repair gives Debezium a new slot and a snapshot that belongs to it:
PostgreSQL exports the snapshot with the slot, so what the one does not contain the other sends. The
events go through the topic and the workers like all others, and replace themselves in the views.
"""

from operations.repair.facts import Extent, Facts, TopicFacts
from operations.repair.plan import Part, Plan, Step, make_plan
from operations.repair.run import Options, Outcome, RepairRefused, repair
from operations.repair.settings import RepairSettings

__all__ = [
    "Extent",
    "Facts",
    "Options",
    "Outcome",
    "Part",
    "Plan",
    "RepairRefused",
    "RepairSettings",
    "Step",
    "TopicFacts",
    "make_plan",
    "repair",
]

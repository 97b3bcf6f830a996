"""What a repair has to know, as plain values, and what each of them means. No input or output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from connectors.debezium.client import PAUSED, STOPPED, UNREGISTERED, ConnectorHealth
from connectors.debezium.publication import Publication
from connectors.debezium.slot import SlotHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """The payments topic.

    - `made_anew`: the views have read another topic of this name.
    - `wrong_config`: setting -> its value in Kafka and the right one.
    - `cut_off`: partitions that no longer have their first records, although they are to keep all.
    - `stale_positions`: the views name offsets that this topic does not have.
    """

    name: str
    exists: bool = True
    made_anew: bool = False
    wrong_config: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cut_off: tuple[int, ...] = ()
    stale_positions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The state of everything between `payments` and the workers.

    - `offset`: the connector's position as Connect has noted it; None without one.
    - `slot_position`: the log position (bytes) up to which the slot has been confirmed.
    - `partial_snapshot`: the connector is configured to take only a part in its next snapshot.
    - `may_drop_slot`: whether the owner may act as Debezium's role.
    """

    connector: ConnectorHealth
    offset: Mapping[str, object] | None
    partial_snapshot: bool
    slot: SlotHealth
    slot_position: int | None
    may_drop_slot: bool
    publication: Publication
    topic: TopicFacts
    dead_letters_topic: str
    dead_letters_exist: bool

    @property
    def registered(self) -> bool:
        """Whether Connect knows the connector."""
        return self.connector.state != UNREGISTERED

    @property
    def halted(self) -> bool:
        """Whether somebody has stopped or paused the connector."""
        return self.connector.state in (STOPPED, PAUSED)

    @property
    def slot_is_new(self) -> bool:
        """Whether the slot begins after the connector's position: events between are missing.

        Debezium confirms to PostgreSQL only what Connect has noted, so a slot that was not made
        anew is never ahead.
        """
        offset = self.offset or {}
        noted = offset.get("lsn")
        if self.slot_position is None or not isinstance(noted, int) or "snapshot" in offset:
            return False
        return noted < self.slot_position

    @property
    def snapshot_unfinished(self) -> bool:
        """Whether Debezium has noted no position behind its snapshot."""
        return self.offset is None or "snapshot" in self.offset

    @property
    def halted_without_snapshot(self) -> bool:
        """Whether a started connector would take a snapshot that is not the slot's own."""
        return self.halted and self.snapshot_unfinished

    @property
    def snapshot_runs(self) -> bool:
        """Whether Debezium is taking its snapshot: it has a slot and does not read it yet."""
        return (
            self.connector.healthy
            and self.snapshot_unfinished
            and not self.slot.active
            and self.slot.wal_status is not None
            and not self.slot.lost
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much a snapshot has to send: `to_send` of `events`, those recorded from `since` on.

    `since` is None for all of history. `missing` events are not in the views.
    """

    events: int
    missing: int
    to_send: int
    since: datetime | None

"""Pathway: a table of raw records, and a subscription that takes its rows."""

from typing import Any

import pathway as pw

from bench.peers.job import BOOTSTRAP, GROUP, LIBRDKAFKA, TOPIC, Job, decode
from schemas.runtime import entry_point


class _Writer:
    def __init__(self) -> None:
        self._job = Job()

    def on_change(self, key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        place = row["_metadata"].value
        self._job.take(decode(row["data"]), int(place["partition"]), int(place["offset"]))


@entry_point
def main() -> None:
    """Run the graph up to the wanted number of events."""
    settings = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": GROUP,
        "auto.offset.reset": "earliest",
        **{name: str(value) for name, value in LIBRDKAFKA.items()},
    }
    table = pw.io.kafka.read(
        settings, topic=TOPIC, format="raw", with_metadata=True, autocommit_duration_ms=400
    )
    pw.io.subscribe(table, on_change=_Writer().on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()

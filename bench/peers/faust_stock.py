"""Stock Faust: an agent takes events one by one."""

from tempfile import mkdtemp
from typing import Any

import faust

from bench.peers.job import BOOTSTRAP, FETCH_BYTES, GROUP, TOPIC, Job, decode
from schemas.runtime import entry_point


@entry_point
def main() -> None:
    """Run the agent up to the wanted number of events."""
    app = faust.App(
        GROUP,
        broker=f"kafka://{BOOTSTRAP}",
        datadir=mkdtemp(),
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
    )
    job = Job()

    async def read(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            job.take(decode(message.value), message.partition, message.offset)

    app.agent(app.topic(TOPIC))(read)
    worker = faust.Worker(app, quiet=True, override_logging=False)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()

"""A worker process for the tests: writes down what it was handed, then acknowledges, or does not.

Usage: `python worker.py TOPIC JOURNAL MODE`, settings from the environment. The journal gets one
line per batch, `{"partition": …, "offsets": […]}`, before the batch is acknowledged, and every
half second a line `{"health": …}`. Modes:

- steady: acknowledges each batch at once, so a few milliseconds after it came
- shuffled: keeps up to eight batches for a while and acknowledges them in any order
- holding: never acknowledges
- deaf: never acknowledges, and does not let itself be cancelled
- failing: an exception leaves the agent at the third batch
"""

import asyncio
import json
import os
import random
import sys
from dataclasses import asdict
from typing import Any

from streams.app import make_app, run
from streams.settings import StreamSettings

topic, journal_path, mode = sys.argv[1:]
settings = StreamSettings.load()
app = make_app(settings)
journal = os.open(journal_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
chance = random.Random(os.getpid())


def note(line: dict[str, Any]) -> None:
    os.write(journal, json.dumps(line).encode() + b"\n")


async def acknowledge_shuffled(waiting: list[Any]) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        if waiting and (len(waiting) >= 8 or chance.random() < 0.5):
            event = waiting.pop(chance.randrange(len(waiting)))
            records = [record.offset for record in event.value]
            note({"partition": event.message.partition, "offsets": records})
            event.ack()


async def agent(stream: Any) -> None:
    waiting: list[Any] = []
    acknowledging = asyncio.ensure_future(acknowledge_shuffled(waiting))
    batches = 0
    async for event in stream.noack().events():
        batches += 1
        match mode:
            case "steady":
                await asyncio.sleep(chance.uniform(0.0, 0.01))
                records = [record.offset for record in event.value]
                note({"partition": event.message.partition, "offsets": records})
                event.ack()
            case "failing" if batches == 3:
                acknowledging.cancel()
                raise RuntimeError("the third batch")
            case "shuffled" | "holding" | "deaf" | "failing":
                waiting.append(event)
                if mode != "shuffled":
                    acknowledging.cancel()
            case _:
                raise SystemExit(f"no such mode: {mode}")
        if mode == "deaf":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue


async def report() -> None:
    while True:
        await asyncio.sleep(0.5)
        health = asdict(app.consumer.health())
        health["lag"] = {str(tp.partition): lag for tp, lag in health["lag"].items()}
        health["batches_in_flight"] = sum(health["batches_in_flight"].values())
        note({"health": health})


app.agent(app.topic(topic))(agent)
app.task(report)
run(app, settings)

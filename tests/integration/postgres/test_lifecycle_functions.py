"""The lifecycle in the database is the lifecycle in the code: every state with every event."""

import itertools

import psycopg
import pytest

from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, State, Status, next_state

STATES = (None, *itertools.starmap(State, itertools.product(Status, Fulfilment, Dispute)))
NO_STATE = (None, None, None)


@pytest.mark.integration
def test_every_transition_is_the_same_in_the_database(owner: psycopg.Connection) -> None:
    owner.execute(
        "CREATE TEMPORARY TABLE steps (number int, direction text, status text, fulfilment text,"
        " dispute text, event_type text)"
    )
    steps = list(itertools.product(Direction, STATES, EventType))
    with owner.cursor() as cursor, cursor.copy("COPY steps FROM STDIN") as stream:
        for number, (direction, state, event_type) in enumerate(steps):
            stream.write_row((number, direction, *(state or NO_STATE), event_type))
    answers = owner.execute(
        "SELECT public.payments_status_after(direction, status, event_type),"
        " public.payments_fulfilment_after(direction, fulfilment, event_type),"
        " public.payments_dispute_after(direction, dispute, event_type)"
        " FROM steps ORDER BY number"
    ).fetchall()
    for (direction, state, event_type), answer in zip(steps, answers, strict=True):
        allowed = None if None in answer else answer
        assert allowed == next_state(direction, state, event_type), (direction, state, event_type)

"""A client that dies while it sends: nothing is done of what arrived only in part."""

import socket
import struct

import pytest
import stripe

from tests.simulator import KEY, Simulator
from tests.waiting import throughout

QUIET_SECONDS = 0.5


@pytest.mark.parametrize(
    "sent",
    [
        "Content-Length: 22\r\n\r\n",
        "Content-Length: 22\r\n\r\namount_to_capture=1",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n13\r\namount_to_capture=1\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_request_whose_body_is_cut_off_is_not_carried_out(
    client: stripe.StripeClient, simulator: Simulator, sent: str, reset: bool
) -> None:
    intent = client.v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "capture_method": "manual",
        }
    )
    with socket.create_connection(("127.0.0.1", simulator.port)) as connection:
        connection.sendall(
            f"POST /v1/payment_intents/{intent.id}/capture HTTP/1.1\r\n"
            f"Host: simulator\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\n{sent}".encode()
        )
        if reset:  # as the kernel does for a process that is killed with unread answers
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for _ in throughout(QUIET_SECONDS):
        found = client.v1.payment_intents.retrieve(intent.id)
        assert (found.status, found.amount_received) == ("requires_capture", 0)

"""The API without servers: a store and a processor in memory, an issuer with keys of its own."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from connectors.charges import ProcessorEvent
from payins.execute import PayIns
from schemas.events import Event
from schemas.ids import PaymentId
from service.answer_cache import AnswerCache
from service.app import make_app
from service.as_of import AsOf
from service.breaker import Breaker
from service.database import Database
from service.frame import App
from service.gate import Gate
from service.health import Readiness
from service.keys import KeySet
from service.listing import Found, Listing, Wanted
from service.metrics import ApiMetrics
from service.parts import Parts
from service.rate_limits import RateLimits
from service.settings import ServiceSettings
from service.tokens import Tokens
from service.views import Views
from service.webhooks import StripeWebhooks
from tests.payins_world import World
from writer.append import AsyncReader, AsyncWriter

ISSUER = "https://issuer.example"
AUDIENCE = "purser"
WEBHOOK_SECRET = "whsec_test"

SETTINGS = ServiceSettings.load(
    postgres_dsn="postgresql://nobody@127.0.0.1:1/none",
    kafka_bootstrap="127.0.0.1:1",
    clickhouse_reader_url="http://nobody:x@127.0.0.1:1/purser",
    jwt_issuer=ISSUER,
    jwks_url="https://issuer.example/jwks.json",
    redis_url=None,
)

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_keys() -> dict[str, Any]:
    """The issuer's document."""
    elliptic = ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
    classic = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
    return {"keys": [{**elliptic, "kid": "ec"}, {**classic, "kid": "rsa", "use": "sig"}]}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token of a service; None leaves one out."""
    now = int(time.time())
    good: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "shop",
        "exp": now + 600,
        "nbf": now - 1,
        "scope": "service",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(role: str = "service", subject: str = "shop", **changes: Any) -> str:
    """A good token."""
    return jwt.encode(
        claims(scope=role, sub=subject, **changes), EC_KEY, "ES256", headers={"kid": "ec"}
    )


class MemoryListing(Listing):
    """Finds rows in a store in memory by the same rules."""

    def __init__(self, world: World, reader: AsyncReader) -> None:
        super().__init__(cast(Database, None), cast(Views, None), cast(AsOf, None), reader)
        self._world = world

    async def _now(self) -> datetime:
        return max(
            [event.recorded_at for events in self._streams() for event in events],
            default=self._world.clock(),
        ).replace(year=2099)

    def _streams(self) -> list[tuple[Event, ...]]:
        return list(self._world.store._streams.values())

    async def _ids_of(self, user_id: str, directions: Sequence[Any]) -> Collection[UUID]:
        return [
            events[0].payment_id
            for events in self._streams()
            if events[0].direction in directions
            and (events[0].buyer_id or events[0].seller_id) == user_id
        ]

    async def _found(
        self,
        statement: str,
        wanted: Wanted,
        lower: datetime,
        upper: datetime,
        limit: int,
        more: Mapping[str, object],
    ) -> list[Found]:
        ids = cast("list[UUID] | None", more.get("ids"))
        seller = more.get("seller")
        found = [
            Found(events[0].payment_id, events[0].recorded_at)
            for events in self._streams()
            if lower <= events[0].recorded_at < upper
            and (events[0].payment_id in ids if ids is not None else events[0].buyer_id)
            and (seller is None or any(event.seller_id == seller for event in events))
        ]
        found.sort(key=lambda each: (each.recorded_at, each.payment_id), reverse=True)
        if wanted.after is not None:
            found = [
                each for each in found if (each.recorded_at, each.payment_id) < tuple(wanted.after)
            ]
        return found[:limit]


class NoViews(Views):
    """Answers each question with no rows."""

    def __init__(self) -> None:
        """Nothing to connect to."""

    async def ask(self, question: Any) -> Any:
        class Client:
            def query(self, _question: str, parameters: object = None) -> Any:
                return type("Answer", (), {"result_rows": []})

        return question(Client())


class NoAsOf(AsOf):
    """Nothing is proven."""

    def __init__(self) -> None:
        """Nothing to ask."""

    async def now(self) -> datetime | None:
        return None


@dataclass
class MemoryInbox:
    """Webhooks, by event."""

    events: dict[str, bytes] = field(default_factory=dict)

    async def put(self, event: ProcessorEvent, body: bytes) -> None:
        self.events[event.event_id] = body


@dataclass
class ApiWorld:
    """One process of the API; several can share a `World`, as processes share PostgreSQL."""

    world: World = field(default_factory=World)
    answers: AnswerCache | None = None
    requests: int = 1_000_000
    settings: ServiceSettings = SETTINGS

    def __post_init__(self) -> None:
        self.metrics = ApiMetrics()
        self.inbox = MemoryInbox()
        breaker = Breaker(self.metrics, pause_seconds=1)

        async def fetch() -> bytes:
            return json.dumps(public_keys()).encode()

        keys = KeySet(fetch, refresh_seconds=300, pause_seconds=10)
        self.tokens = Tokens(
            keys,
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway_seconds=0,
            remembered_most=100,
            remembered_seconds=300,
        )
        quotas = RateLimits(requests=self.requests, window_seconds=60, shared=None, breaker=breaker)
        self.gate = Gate(
            tokens=self.tokens,
            quotas=quotas,
            unknown_quotas=quotas,
            answers=self.answers or AnswerCache(None, b"", breaker, self.metrics, kept_seconds=300),
            metrics=self.metrics,
            in_flight={},
        )
        self.writer = AsyncWriter(self.world.store)
        self.reader = AsyncReader(self.world.store)
        self.payins = PayIns(
            self.writer, self.world.processors, self.world.metrics, clock=self.world.clock
        )
        self.parts = Parts(
            writer=self.writer,
            payins=self.payins,
            views=NoViews(),
            as_of=NoAsOf(),
            listing=MemoryListing(self.world, self.reader),
            webhooks=StripeWebhooks(self.inbox, [WEBHOOK_SECRET]),
            metrics=self.metrics,
        )
        made: tuple[FastAPI, App] = make_app(
            self.settings, self.gate, self.parts, Readiness({}, {}), b'{"keys": []}'
        )
        self.fastapi, self.app = made

    def client(self, role: str = "service", subject: str = "shop") -> httpx.AsyncClient:
        """A client with a token; without a role it has none."""
        headers = {"Authorization": f"Bearer {token(role, subject)}"} if role else {}
        transport = httpx.ASGITransport(app=cast(Any, self.app), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)

    async def paid(self, **changes: Any) -> dict[str, Any]:
        """A payment that was made by the shop."""
        async with self.client() as client:
            answer = await client.post("/v1/payments", json=body(**changes), headers=key())
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def close(self) -> None:
        """End the threads of writer and reader."""
        self.writer.close()
        self.reader.close()


def key(value: str | None = None) -> dict[str, str]:
    """The header with a key, new unless it is given."""
    return {"Idempotency-Key": value or f"key-{uuid4()}"}


def body(**changes: Any) -> dict[str, Any]:
    """A good body of POST /v1/payments; `amount_minor` is that of its only order."""
    order = {
        "order_id": "o-1",
        "seller_id": "s-7",
        "amount_minor": changes.pop("amount_minor", 2500),
        "commission_minor": 250,
        "logistics_fee_minor": 100,
    }
    good: dict[str, Any] = {
        "buyer_id": "b-3",
        "currency": "EUR",
        "method": "card",
        "payment_token": "ok",
        "orders": [order],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def events_of(world: World, payment_id: str) -> tuple[Event, ...]:
    """A payment's stream."""
    return world.store.load(PaymentId(UUID(payment_id)))

"""Puts the simulator of Stripe together: the only place that knows all of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from simulators.clock import Clock, Tasks
from simulators.database import Database
from simulators.faults import Faults
from simulators.settings import SimulatorSettings
from simulators.stripe import endpoints, pages
from simulators.stripe.account import API_VERSION, Account
from simulators.stripe.api import Api
from simulators.stripe.event_log import EventLog
from simulators.stripe.idempotency import Answers
from simulators.stripe.store import Store
from simulators.stripe.webhooks import Deliverer
from simulators.stripe.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripe:
    """The simulator of Stripe."""

    account: Account
    api: Api
    deliverer: Deliverer
    work: Work

    def routes(self) -> Sequence[BaseRoute]:
        """The pages that a browser sees."""
        return pages.routes(self.account)

    def reasons(self) -> list[str]:
        """Why it is not healthy; empty if it is."""
        return [each for each in (self.work.problem, self.deliverer.problem) if each is not None]

    def start(self) -> None:
        """Begin to deliver events and to let time pass."""
        self.deliverer.start()
        self.work.start()

    async def stop(self) -> None:
        """End both."""
        await self.work.stop()
        await self.deliverer.stop()


def stripe(
    settings: SimulatorSettings, database: Database, clock: Clock, tasks: Tasks, faults: Faults
) -> Stripe:
    """The simulator of Stripe, on books that may hold something already."""
    with database.transaction():
        store = Store(database)
        events = EventLog(database, store.salt, API_VERSION)
        answers = Answers(database)
    clock.not_before(events.latest())
    account = Account(
        database=database,
        store=store,
        clock=clock,
        tasks=tasks,
        faults=faults,
        events=events,
        base_url=settings.simulator_url,
    )
    with database.transaction():
        endpoints.set_up(
            account,
            settings.simulator_webhook_url,
            settings.webhook_events,
            settings.webhook_secrets,
        )
        endpoints.subscribe(account)
    key = settings.stripe_api_key.get_secret_value() if settings.stripe_api_key else None
    api = Api(account, answers, key=key, latency_seconds=settings.simulator_latency_seconds)
    return Stripe(
        account=account,
        api=api,
        deliverer=Deliverer(account),
        work=Work(account, answers),
    )

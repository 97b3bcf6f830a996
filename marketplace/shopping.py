"""Carries a shop's purchases out, at their times, through the API and the PSP's pages.

The load is open: a purchase begins when it is due, however many others are under way, and its
latency counts from then. A purchase's own steps follow one another. What the API cannot do yet
(a share matures, a provider pays a seller) is handed to the writer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import aiohttp

from marketplace.api_client import Answer, ApiClient, ApiReport
from marketplace.browser import Browser
from marketplace.purchases import Browse, Choice, Mature, PayOut, Post, Purchase, Step
from marketplace.traffic import Recorder
from schemas.errors import Rejection, ServiceUnavailable
from schemas.ids import PaymentId
from writer import commands as c

OPEN_MOST = 20_000
"""Purchases under way at once; with more the load itself is broken."""
LOOK_SECONDS = (0.2, 2.0)
"""First and longest pause between two looks at a payment; it doubles."""
WAIT_SECONDS = 30.0
"""Longest wait for a payment's status, such as for the webhook of a page that was just paid."""
OVER = frozenset({"failed", "cancelled", "expired"})
SHOW = "GET /v1/payments/{payment}"
GOOD_CARD = {"card_number": "4242424242424242", "card_expiry": "12/34", "card_cvc": "123"}
"""What a buyer enters into the fields of a hosted page, by their names."""
BUTTONS = {Choice.PAY: ("complete",), Choice.FAIL: ("fail",)}
"""Values of the buttons of the page of 3-D Secure; a hosted page has one button only."""


@dataclass(kw_only=True)
class ShoppingReport:
    """What became of the purchases; the answers and latencies are in `api`."""

    api: ApiReport = field(default_factory=ApiReport)
    purchases: int = 0
    finished: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Fate -> purchases whose next step did not come about, by the payment's status."""
    visits: Counter[str] = field(default_factory=Counter)
    """What buyers did on the PSP's page."""
    recorded: int = 0
    """Commands that the writer took."""
    rejections: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


OnAnswered = Callable[[UUID, int], None]
"""Takes a payment's id and the seq of the newest event that an answer shows."""


class Shopping:
    """One run of a shop; an object can run once."""

    def __init__(
        self,
        api: ApiClient,
        browser: Browser,
        report: ShoppingReport,
        *,
        finance: ApiClient | None = None,
        writer: Recorder | None = None,
        on_answered: OnAnswered | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """`finance` asks for payouts, which the shop itself may not; without it there are none.

        Without a `writer` no share matures and no payout is paid.
        """
        self.report = report
        self._api = api
        self._browser = browser
        self._finance = finance
        self._writer = writer
        self._on_answered = on_answered
        self._wait_seconds = wait_seconds
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin nothing new; requests that are under way are answered first."""
        self._stop.set()

    async def run(self, purchases: Iterable[Purchase], *, finish: bool = False) -> None:
        """Begin every purchase when it is due; `finish` also waits for all their steps.

        Without it the run ends with the last request that is under way when all have begun and
        `stop` was called.

        A repeated answer that differs is counted in the report and ends nothing.

        Raises:
            ServiceUnavailable: a request of a purchase got no answer for minutes.
        """
        started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for purchase in purchases:
                    due = started + purchase.at_seconds
                    await self._pause(due - time.monotonic())
                    if self._stop.is_set():
                        break
                    assert self.report.purchases - self.report.finished < OPEN_MOST
                    self.report.purchases += 1
                    group.create_task(self._carry_out(purchase, due))
                if not finish:
                    await self._stop.wait()
        except* ServiceUnavailable as errors:
            raise errors.exceptions[0] from None
        finally:
            self.report.seconds = time.monotonic() - started

    async def _pause(self, seconds: float) -> None:
        """Let time pass, or less if the run is stopped."""
        if seconds > 0 and not self._stop.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
            except TimeoutError:
                pass

    async def _carry_out(self, purchase: Purchase, due: float) -> None:
        answer = first = await self._post(purchase.opening, "", due)
        payment = _payment_of(answer)
        for step in purchase.steps if payment else ():
            await self._pause(step.wait_seconds)
            if self._stop.is_set():
                break
            answer = await self._until(payment, answer, step.when)
            status = str(answer.payment.get("status"))
            if status not in step.when:
                self.report.skipped[f"{purchase.fate}: {status}"] += 1
                break
            answer = await self._take(step, payment, answer)
        if purchase.asks_again:
            again = await self._post(purchase.opening, "")
            self.report.api.compare(f"{purchase.opening.operation} again", first, again)
        self.report.finished += 1

    async def _until(self, payment: str, answer: Answer, wanted: frozenset[str]) -> Answer:
        """Look at the payment until it is where the next step makes sense, or never will."""
        give_up_at = time.monotonic() + self._wait_seconds
        pause = LOOK_SECONDS[0]
        while (status := answer.payment.get("status")) not in wanted | OVER:
            if status is not None:
                if time.monotonic() > give_up_at or self._stop.is_set():
                    break
                await self._pause(pause)
                pause = min(LOOK_SECONDS[1], 2 * pause)
            answer = await self._api.get(SHOW, f"/v1/payments/{payment}")
            if answer.status != 200:
                break
        return answer

    async def _take(self, step: Step, payment: str, answer: Answer) -> Answer:
        """Take a step; return the newest answer that shows the payment."""
        match step:
            case Post():
                changed = await self._post(step, payment)
                return changed if "id" in changed.payment else answer
            case Browse():
                await self._browse(step, answer)
            case Mature():
                await self._record(
                    c.Release(
                        idempotency_key=step.key,
                        occurred_at=datetime.now(UTC),
                        payment_id=PaymentId(UUID(payment)),
                    )
                )
                return answer
            case PayOut():
                await self._pay_out(step)
                return answer
        return Answer(status=200, body={})  # look again: what the buyer did reaches us in its time

    async def _post(
        self, post: Post, payment: str, due: float | None = None, api: ApiClient | None = None
    ) -> Answer:
        """Send a request as often as the buyer clicked; all answers must be the same."""
        path, body = post.about(payment)
        client = api or self._api
        answers = await asyncio.gather(
            *(
                client.post(
                    post.operation,
                    path,
                    body,
                    post.key,
                    due=due,
                    hang_up_seconds=post.hang_up_seconds,
                )
                for _ in range(post.clicks)
            )
        )
        for again in answers[1:]:
            self.report.api.compare(f"{post.operation} twice at once", answers[0], again)
        shown = answers[0].payment
        if self._on_answered and isinstance(shown.get("last_seq"), int) and "id" in shown:
            self._on_answered(UUID(shown["id"]), shown["last_seq"])
        return answers[0]

    async def _browse(self, step: Browse, answer: Answer) -> None:
        """Do what the buyer does; a page that does not answer is left, as buyers do."""
        action = answer.payment.get("next_action") or {}
        url = action.get("url")
        if url is None:
            self.report.visits["no page"] += 1
            return
        self.report.visits[step.choice] += 1
        if step.choice is Choice.LEAVE:
            return
        try:
            visit = await self._browser.visit(url, BUTTONS[step.choice], GOOD_CARD)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report.visits[type(error).__name__] += 1
            return
        if visit.status >= 400:
            self.report.visits[f"page answered {visit.status}"] += 1

    async def _pay_out(self, step: PayOut) -> None:
        if self._finance is None:
            return
        answer = await self._post(step.post, "", api=self._finance)
        if answer.status >= 400:
            return
        payout = PaymentId(UUID(answer.body["payout_id"]))
        for name, make in (("submitted", c.SubmitPayout), ("paid", c.MarkPayoutPaid)):
            await self._record(
                make(
                    idempotency_key=f"{step.post.key}/{name}",
                    occurred_at=datetime.now(UTC),
                    payment_id=payout,
                )
            )

    async def _record(self, command: c.AnyCommand) -> None:
        """Hand a command to the writer, again and again while its server is down."""
        if self._writer is None:
            return
        while True:
            try:
                answer = await asyncio.wrap_future(self._writer.submit(command))
                break
            except ServiceUnavailable:
                if self._stop.is_set():
                    raise
                await asyncio.sleep(LOOK_SECONDS[0])
        if isinstance(answer, Rejection):
            self.report.rejections[answer.code] += 1
        else:
            self.report.recorded += 1


def _payment_of(answer: Answer) -> str:
    """The payment's id in an answer to a first request; empty if there is no payment to go on."""
    if answer.status >= 400:
        return ""
    shown = answer.payment
    return str(shown.get("id") or shown.get("tx_id") or "")

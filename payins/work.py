"""What a resolver knows about one payment while it takes steps for it."""

from dataclasses import dataclass, field
from datetime import datetime

from payins.carry_out import Stream
from payins.evidence import Unrecordable
from payins.plan import Settled, Step, Wait
from payins.policies import Question, next_look
from schemas.errors import ProcessorError
from schemas.ids import PaymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the caller knows about a payment beside its stream.

    - `last_sent_at`: the latest time at which anybody but the request itself can have sent a charge
      for it: this worker's last call, or when it got the payment from another worker.
    - `looked_at`: when it was last looked at, None if never.
    - `repeats`: how often this worker asked in vain for the charge of the latest attempt.
    - `is_refused`: the processor refused that last time, when others might still have charged.
    - `failures`: how often in a row what is open could not be asked, or no outcome came of it.
    """

    last_sent_at: datetime
    looked_at: datetime | None = None
    repeats: int = 0
    is_refused: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """How far a visit came.

    `question` is what is open, None if nothing is; `until` is when to come back. `error` is why a
    step could not be taken: come back with backoff instead. `sent`: a charge was asked for.
    `looked`: the processor was asked how it stands. `repeats`, `is_refused`: as in `Visit`, now.
    `last_seq`: the stream as far as it was seen.
    """

    last_seq: int
    psp: str = ""
    question: Question | None = None
    until: datetime | None = None
    error: ProcessorError | None = None
    sent: bool = False
    looked: bool = False
    repeats: int = 0
    is_refused: bool = False
    step: str = "settled"
    unrecordable: tuple[Unrecordable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What came of one thing that is open about a payment, as in `Resolved`."""

    question: Question | None
    until: datetime | None
    error: ProcessorError | None
    step: str


@dataclass(slots=True, kw_only=True)
class Work:
    """One visit while it lasts.

    `doing` names the request or the late money that a step is about, `passed` those of which
    nothing came in this visit, and `aside` how these ended: one that is stuck must not keep the
    others waiting.
    """

    stream: Stream
    visit: Visit
    looked_at: datetime | None = None
    question: Question | None = None
    until: datetime | None = None
    error: ProcessorError | None = None
    sent: bool = False
    repeats: int = 0
    is_refused: bool = False
    step: str = "settled"
    unrecordable: dict[Unrecordable, None] = field(default_factory=dict)
    doing: str | None = None
    passed: set[str] = field(default_factory=set)
    aside: list[End] = field(default_factory=list)

    @property
    def payment_id(self) -> PaymentId:
        """The payment."""
        return PaymentId(self.stream[0].payment_id)

    @property
    def last_seq(self) -> int:
        """How long the stream is."""
        return self.stream[-1].seq

    @property
    def last_look(self) -> datetime | None:
        """When the processor was last asked how it stands."""
        return self.looked_at or self.visit.looked_at

    def take(self, step: Step) -> None:
        """A step is about to be taken."""
        self.step = type(step).__name__.lower()
        self.question = None if isinstance(step, Settled) else step.question
        self.until = step.until if isinstance(step, Wait) else None

    def wait(self, question: Question, since: datetime, now: datetime) -> None:
        """Nothing came of the step yet: come back after the question's interval."""
        self.question = question
        self.until = next_look(self.stream[0].method, question, since, now)

    def pass_by(self) -> bool:
        """Go on to what else is open; return whether there may be something."""
        if self.doing is None:
            return False
        self.passed.add(self.doing)
        self.aside.append(self._end())
        self.doing = self.question = self.until = self.error = None
        return True

    def _end(self) -> End:
        return End(question=self.question, until=self.until, error=self.error, step=self.step)

    def resolved(self) -> Resolved:
        """How far it came: what failed counts first, then what is due first."""
        ends = [end for end in (*self.aside, self._end()) if end.question or end.error]
        ends.sort(key=lambda end: (end.error is None, end.until is not None, end.until))
        first = ends[0] if ends else self._end()
        return Resolved(
            last_seq=self.last_seq,
            psp=self.stream[-1].psp,
            question=first.question,
            until=first.until,
            error=first.error,
            sent=self.sent,
            looked=self.looked_at is not None,
            repeats=self.repeats,
            is_refused=self.is_refused,
            step=first.step,
            unrecordable=tuple(self.unrecordable),
        )

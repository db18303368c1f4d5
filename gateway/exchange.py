"""One request, from a known caller to a booked answer. Read this first.

    admit ─▶ reserve ─▶ route ─▶ stream ─▶ meter ─▶ settle ─▶ record
    Plan     Hold       Option   Relay     Usage    Settle    Receipt

Every API surface comes through `complete` (one body) or `stream` (events), after it authenticated the caller and turned the
body into a `Submission`. Left of `reserve` a refusal costs nothing; right of it every attempt ends in exactly one booking:
completed, aborted (the client left), failed (the provider), or, if this process dies, expired (see upkeep.py).

The exchange owns the upstream reader. It runs in a task of its own that nobody else cancels, so a client that leaves, at any
byte, changes only whether there is still somebody to send to. An answer's last byte is sent after its booking is committed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
import orjson

from billing.book import LedgerUnavailable
from billing.card import RateCard
from billing.extract import extract, kept
from billing.fx import FxRate, FxTable
from billing.holds import Booked, Checkpoint, Dimensions, Hold, MarkSent, Outcome, Place, Reserve, Settle, Void
from billing.money import format_krw
from billing.periods import Calendar, from_us
from billing.pricing import NoPrice, PriceBook, conditions_from
from billing.quota import Ask, Refused
from billing.settlement import ask, estimate, nothing_used, rate_of, settle
from billing.usage import INPUT_METERS, OUTPUT_METERS, Usage
from billing.writer import Writer
from gateway import fault, refusals, tokens
from gateway.catalog import Catalog, Deployment, Model
from gateway.enclosures import Enclosures
from gateway.errors import ClientGone, NotAllowed, Unavailable
from gateway.evidence.recorder import Recorder
from gateway.evidence.records import Fingerprints
from gateway.filtering import NOTHING, Asker, Filtered, Filters, Request, Screening, output_evidence
from gateway.leaving import Path
from gateway.metrics import Metrics
from gateway.principal import Principal
from gateway.providers.base import Call, Failure, Provider, ProviderError, Reply, Stream
from gateway.relay import Relay, UpstreamSaidError, generated
from gateway.rewriting import Rewriter
from gateway.routing import Candidate, Router
from gateway.settings import Destination, Grade, Settings
from gateway.workspace.mask_vault import MaskVaults
from policies.decision import stricter
from policies.masking import Vault

log = logging.getLogger("haechi.exchange")

T = TypeVar("T")

#: A delivered answer is checkpointed this often, so that a crash loses no more than this of it.
_CHECKPOINT_FRAMES = 256
_CHECKPOINT_SECONDS = 2.0

#: How long the client waits for its last byte when the database does not take the booking (which goes on being tried).
_SETTLE_SECONDS = 5.0

#: Above this many bytes rewriting an answer takes long enough for other requests to notice.
_INLINE_ANSWER = 32 * 1024

#: Draining an upstream nobody listens to is bounded in time and number.
_DRAIN_SECONDS = 120.0
_DRAINS = 64

#: A model that searches by itself decides how often, and bills each time. No vendor states a bound; this many are held for.
_SEARCHES = 10

#: What providers mostly say, and what needs no second look at the price list.
_ORDINARY_TIERS = (None, "default", "auto", "standard")


@dataclass(frozen=True, slots=True)
class World:
    """Everything a request looks up, replaced whole by a reload. Requests keep the world they began in."""

    settings: Settings
    catalog: Catalog
    providers: Mapping[str, Provider]
    book: PriceBook
    fx: FxTable
    calendar: Calendar
    filters: Filters


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated request. `body` is what may leave, less model, stream and caps; `size` bounds its tokens from above.

    `operation` is what a provider is asked to do: to answer, or to turn text into vectors, which generates nothing.
    `conversation` is what the caller calls it, where it has a name: its masked values are then kept from turn to turn.
    """

    request_id: str
    surface: str
    model: str
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool
    output_cap: int | None
    choices: int
    size: int
    needs: frozenset[str]
    grade: Grade
    purpose: str
    project: str | None
    operation: Literal["chat", "embeddings"] = "chat"
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """A place the request may go, at the price and rate pinned for it."""

    candidate: Candidate
    place: Place
    card: RateCard


@dataclass(frozen=True, slots=True)
class Plan:
    """An admitted request: who, what, the places in the order to try them, what the filters made of it, and until when
    (monotonic) it may take."""

    world: World
    principal: Principal
    submission: Submission
    who: Dimensions
    options: tuple[Option, ...]
    filtered: Filtered
    at: int
    until: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the caller is told about the money, and about what the filters did: `policy` and `found` as the headers have them,
    `unresolved` how many placeholders of the answer nobody knows."""

    cost_krw: str
    quality: str
    model: str
    attempt: int
    policy: str = ""
    found: str = ""
    unresolved: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    body: bytes
    receipt: Receipt


class Line(Protocol):
    """The way back to the client. Sending to a client that left is harmless."""

    @property
    def left(self) -> bool: ...

    @property
    def reason(self) -> str | None:
        """client · stuck · refused · shutdown, once left."""

    def when_left(self, callback: Callable[[], None]) -> None: ...

    def tell(self, policy: str, found: str) -> None:
        """What the head of a stream says about the filters; called before the first frame, if at all."""

    async def send(self, frames: bytes) -> None: ...

    async def finish(self, frames: bytes) -> None: ...


class AttemptFailed(Exception):
    """An attempt that delivered nothing: what to tell, and what releases its hold."""

    def __init__(self, error: ProviderError, release: Settle | Void) -> None:
        super().__init__(str(error))
        self.error = error
        self.release = release


class Exchange:
    """The path. One per process; `owner` names this process in leases, `evidence` keeps what the filters decided."""

    def __init__(
        self,
        world: Callable[[], World],
        writer: Writer,
        router: Router,
        metrics: Metrics,
        *,
        clock: Callable[[], int],
        owner: str,
        ids: Callable[[], str],
        evidence: Recorder,
        fingerprints: Fingerprints,
        enclosures: Enclosures,
        vaults: MaskVaults,
    ) -> None:
        self._enclosures = enclosures
        self._vaults = vaults
        self._ids = ids
        self._evidence = evidence
        self._fingerprints = fingerprints
        self._world = world
        self._writer = writer
        self._router = router
        self._metrics = metrics
        self._clock = clock
        self._owner = owner
        self._live: set[asyncio.Task[Any]] = set()
        self._drains = 0
        self._fx: tuple[FxTable, str, FxRate] | None = None

    # -- the two doors ----------------------------------------------------------------------------------------------

    async def complete(self, principal: Principal, submission: Submission, line: Line) -> Completed:
        """A whole answer. The upstream is always heard to its end: without it nobody could say what was used."""
        return await self._detached(self._complete(principal, submission, line))

    async def stream(self, principal: Principal, submission: Submission, line: Line) -> None:
        """An answer as it comes. Raises a Refusal only while nothing was sent to the client."""
        await self._detached(self._stream(principal, submission, line))

    async def idle(self) -> None:
        """Return when no request is running: what a graceful stop waits for."""
        while self._live:
            await asyncio.wait(self._live)

    @property
    def live(self) -> int:
        return len(self._live)

    async def _detached(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work)
        self._live.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._live.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; nobody waiting is no reason for a warning

    async def _complete(self, principal: Principal, submission: Submission, line: Line) -> Completed:
        plan = await self._admit(principal, submission)
        return await self._attempts(plan, line, lambda hold, option: self._ask(plan, hold, option, line))

    async def _stream(self, principal: Principal, submission: Submission, line: Line) -> None:
        plan = await self._admit(principal, submission)
        if plan.filtered.told:
            line.tell(plan.filtered.told, plan.filtered.counts)
        await self._attempts(plan, line, lambda hold, option: self._relay(plan, hold, option, line))

    # -- admit ------------------------------------------------------------------------------------------------------

    async def _admit(self, principal: Principal, submission: Submission) -> Plan:
        if not principal.pledged:
            raise NotAllowed("Sign the pledge first. 먼저 이용 서약에 서명하십시오.", code="pledge_required")
        world = self._world()
        at = self._clock()
        model = world.catalog.resolve(submission.model)
        if not model.available:
            raise refusals.model_unavailable(model)
        if submission.output_cap is not None and submission.output_cap > model.context:
            raise refusals.cap_too_large(model)
        submission = await self._without_files(principal, submission)
        missing = submission.needs - model.capabilities
        if missing:
            raise refusals.lacks(model.name, missing)
        periods = world.calendar.periods(at)
        fx = self._rate_of_day(world.fx, periods.day)
        spelled = await self._spelled(model, submission)
        screening = await world.filters.screen(asker(principal), submission.body, submission.grade, at, spelled)
        options: list[Option] = []
        for candidate in self._router.candidates(world.catalog, model, time.monotonic()):
            if len(options) == world.settings.limits.attempts:
                break
            deployment = candidate.deployment
            if not screening.admits(candidate.model.grade, deployment.destination, asked=candidate.model is model):
                continue
            try:
                card = world.book.card(deployment.price_key, from_us(at))
            except NoPrice:
                continue
            place = Place(
                model=candidate.model.name,
                deployment=deployment.id,
                provider=deployment.provider,
                family="/".join(_family(submission, deployment)),
                destination=deployment.destination,
                creditor=f"{'internal' if deployment.destination == 'inside' else 'payable'}:{deployment.provider}",
                price_key=deployment.price_key,
                price_version=world.book.version,
                fx_rate_e6=rate_of(card, fx.rate_e6),
                fx_provisional=fx.provisional and card.currency != "KRW",
                vat_bp=deployment.tax_rate_bp,
                vat_treatment=deployment.tax_treatment,
            )
            options.append(Option(candidate, place, card))
        stopped = screening.refused is not None and (screening.blocked or not options)
        if not options and not stopped:
            raise refusals.model_unavailable(model)
        if screening.worth_keeping:
            # On record before anything leaves, and before anybody is told why it did not.
            destination = model.destination if stopped else options[0].candidate.deployment.destination
            await self._keep_evidence(screening, submission, destination, periods.month)
        if stopped:
            raise screening.refusal(_inside(world, submission, screening))
        filtered = await self._masked(screening, world.filters, principal, submission)
        if filtered.body is not submission.body:
            submission = replace(submission, body=filtered.body, size=submission.size + filtered.growth)
        who = Dimensions(
            principal=principal.via,
            user_id=principal.user_id,
            department_id=principal.department_id,
            key_id=principal.key_id,
            scopes=principal.scopes,
            periods=periods,
            service_date=periods.day,
            surface=submission.surface,
            stream=submission.stream,
            purpose=submission.purpose,
            project=submission.project,
            grade=filtered.grade,
            model_requested=submission.model,
        )
        until = time.monotonic() + world.settings.limits.deadline_seconds
        return Plan(world, principal, submission, who, tuple(options), filtered, at, until)

    async def _without_files(self, principal: Principal, submission: Submission) -> Submission:
        """What is read from a file is text from here on, for every model."""
        if "documents" not in submission.needs:
            return submission
        opened = await self._enclosures.open(principal.user_id, submission.body)
        return replace(
            submission,
            body=opened.body,
            needs=submission.needs - {"documents"},
            grade=stricter(submission.grade, opened.grade),
            size=submission.size + opened.growth,
        )

    async def _masked(
        self, screening: Screening, filters: Filters, principal: Principal, submission: Submission
    ) -> Filtered:
        """What leaves. Of a conversation that has a name, what was masked is kept before it leaves, if it is to come back."""
        user, conversation = principal.user_id, submission.conversation
        if conversation is None:
            return screening.leave()
        if not filters.restore:
            return screening.leave(Vault(self._vaults.key(user, conversation)))
        filtered = screening.leave(await self._vaults.open(user, conversation))
        if filtered.vault is not None:
            await self._vaults.save(user, conversation, filtered.vault)
        return filtered

    async def _spelled(self, model: Model, submission: Submission) -> Mapping[Path, str]:
        """What stands in bytes that are no text, where that can be told: in pictures, and in a tokeniser's numbers."""
        if submission.operation == "embeddings":
            tokenizers = {deployment.tokenizer for deployment in model.usable}
            numbers = submission.body["input"]
            text = await tokens.decode_in_thread(numbers, tokenizers.pop()) if len(tokenizers) == 1 else None
            return NOTHING if text is None else {("input",): text}
        if "vision" in submission.needs:
            return await self._enclosures.pictures(submission.body)
        return NOTHING

    async def _keep_evidence(
        self, screening: Screening, submission: Submission, destination: Destination, month: str
    ) -> None:
        about = Request(self._ids(), submission.request_id, submission.surface, submission.model, destination, month)
        record = screening.evidence(self._fingerprints, about)
        self._metrics.filtered(record.action, record.destination)
        await self._evidence.record(record)

    async def _keep_output(self, plan: Plan, option: Option, rewriter: Rewriter | None) -> None:
        """What was found in an answer. It is paid for and partly read: a record that cannot be written is logged instead."""
        action, seen, found = ("allow", 0, ()) if rewriter is None else rewriter.items()
        if not found:
            return
        submission, destination = plan.submission, option.candidate.deployment.destination
        about = Request(
            self._ids(),
            submission.request_id,
            submission.surface,
            submission.model,
            destination,
            plan.who.periods.month,
        )
        record = output_evidence(plan.world.filters, asker(plan.principal), about, self._clock(), action, seen, found)
        try:
            await self._evidence.record(record)
        except Unavailable:
            log.error("what was found in the answer to %s is not on record", submission.request_id)

    def _unresolved(self, rewriter: Rewriter | None) -> int:
        """Placeholders nobody knows that stand in an answer as the model wrote them; counted, so that somebody sees it."""
        found = 0 if rewriter is None else rewriter.unresolved
        if found:
            self._metrics.unresolved.inc(found)
        return found

    def _rate_of_day(self, table: FxTable, day: str) -> FxRate:
        """One look-up a day: it is the same for every request of it."""
        if self._fx is None or self._fx[0] is not table or self._fx[1] != day:
            self._fx = (table, day, table.at(date.fromisoformat(day)))
        return self._fx[2]

    # -- route: one attempt after the other, each with its own hold -------------------------------------------------

    async def _attempts(self, plan: Plan, line: Line, attempt: Callable[[Hold, Option], Awaitable[T]]) -> T:
        release: Settle | Void | None = None
        failed: AttemptFailed | None = None
        for number, option in enumerate(_again_unsent(plan.options), 1):
            if failed is not None and option is plan.options[0] and failed.error.sent:
                continue  # only a request that never left is offered to the same place again
            hold = await self._reserve(plan, number, option, release, line)
            fault.point("reserved")
            if line.left:
                # Nobody waits for it any more and nothing has left: it costs nobody anything.
                await self._book(Void(hold, "aborted", self._clock()))
                raise ClientGone
            try:
                may_leave = await self._writer.submit(MarkSent(hold.id, self._clock()))
            except LedgerUnavailable:
                # The writer gives the hold back as soon as the database answers again.
                raise Unavailable(refusals.NO_LEDGER, code="storage_unavailable") from None
            if not may_leave:
                raise Unavailable("The request waited too long to be sent. Try again. 다시 시도하십시오.")
            fault.point("sent")
            try:
                answer = await attempt(hold, option)
            except AttemptFailed as error:
                failed, release = error, error.release
                self._router.failed(option.place.deployment, error.error.failure, time.monotonic())
                self._metrics.attempt_failed(option.place.deployment, error.error.failure)
                log.warning("attempt %s at %s failed: %s", hold.id, option.place.deployment, error.error)
                if line.left or time.monotonic() >= plan.until or not _may_try_elsewhere(error.error):
                    break
            else:
                self._router.answered(option.place.deployment)
                return answer
        assert failed is not None
        assert release is not None
        await self._book(release)
        raise refusals.upstream(failed.error) from failed.error

    # -- reserve ----------------------------------------------------------------------------------------------------

    async def _reserve(
        self, plan: Plan, number: int, option: Option, instead_of: Settle | Void | None, line: Line
    ) -> Hold:
        submission = plan.submission
        bound = submission.size
        first = plan.options if number == 1 else (option,)
        until = time.monotonic() + plan.world.settings.limits.quota_wait_seconds
        exact = False
        while True:
            now = self._clock()
            op = Reserve(
                request_id=submission.request_id,
                attempt=number,
                who=plan.who,
                where=option.place,
                ask=_ask_for(plan, option, first, bound),
                input_bound=bound,
                input_estimate=-(-submission.size // 4),
                at=now,
                lease_owner=self._owner,
                lease_until=now + plan.world.settings.limits.lease_us,
                instead_of=instead_of,
            )
            try:
                answer = await self._writer.submit(op)
            except LedgerUnavailable:
                raise Unavailable(refusals.NO_LEDGER, code="storage_unavailable") from None
            if isinstance(answer, Hold):
                return answer
            instead_of = None  # released by the transaction that refused the new hold
            refused: Refused = answer
            tokenizer = option.candidate.deployment.tokenizer
            if not exact and tokens.is_exact(tokenizer):
                # Bytes over-state Korean four times. Counting is worth its time only where the budget is tight.
                exact = True
                bound = min(bound, await _exact_bound(submission, tokenizer))
                continue
            left = until - time.monotonic()
            if not refused.would_fit or left <= 0 or line.left:
                raise refusals.exhausted(refused, plan.principal, plan.world.calendar, now, _cheaper(plan))
            await self._writer.freed(min(left, 0.5))

    # -- stream -----------------------------------------------------------------------------------------------------

    async def _relay(self, plan: Plan, hold: Hold, option: Option, line: Line) -> None:
        relay = Relay(include_usage=plan.submission.include_usage)
        rewriter = plan.world.filters.rewriter(plan.filtered.vault)
        started = self._clock()
        stream: Stream | None = None
        error: ProviderError | None = None
        with _Reading(self, option, line, plan.until) as reading:
            try:
                stream = await self._provider(plan, option).stream(_call(plan, hold, option))
                fault.point("dispatched")
                await self._pump(hold, stream, relay, rewriter, line)
            except asyncio.CancelledError:
                if not reading.stopped:
                    raise
                if reading.expired:
                    error = _too_long()
            except ProviderError as failure:
                error = failure
            except UpstreamSaidError as said:
                error = ProviderError(Failure.BROKEN, sent=True, status=200, detail=f"error in stream: {said.code}")
        if stream is not None:
            await stream.close()
        if error is not None and not relay.frames and not line.left:
            raise AttemptFailed(error, self._released(plan, hold, started, error))
        outcome: Outcome = "failed" if error is not None else "completed"
        if line.left and (reading.stopped or error is not None):
            outcome = "aborted"
        if error is not None and outcome == "failed":
            log.warning("attempt %s at %s broke in mid-stream: %s", hold.id, option.place.deployment, error)
            self._router.failed(option.place.deployment, error.failure, time.monotonic())
        fault.point("metered")
        booking = await self._meter(plan, hold, option, relay, outcome, started, stream, error, line)
        await self._book(booking)
        fault.point("settled")
        await self._keep_output(plan, option, rewriter)
        if error is not None:
            await line.finish(refusals.stream_frame(refusals.upstream(error), plan.submission.request_id))
        elif line.left and line.reason == "shutdown":
            await line.finish(refusals.stream_frame(refusals.shutting_down(), plan.submission.request_id))
        else:
            unresolved = self._unresolved(rewriter)
            await line.finish(relay.usage_frame(_told(relay.usage, booking, unresolved)) + b"data: [DONE]\n\n")

    async def _pump(self, hold: Hold, stream: Stream, relay: Relay, rewriter: Rewriter | None, line: Line) -> None:
        marked = 0
        due = time.monotonic() + _CHECKPOINT_SECONDS
        async for payloads in stream:
            frames = relay.feed(payloads if rewriter is None else rewriter.payloads(payloads))
            if frames and not line.left:
                await line.send(frames)
            fault.point("frame")
            if relay.frames - marked >= _CHECKPOINT_FRAMES or time.monotonic() >= due:
                marked = relay.frames
                due = time.monotonic() + _CHECKPOINT_SECONDS
                detail = orjson.dumps({"output_tokens": relay.frames}).decode()
                # Not waited for: a checkpoint that comes late is only a rougher estimate.
                self._writer.submit(Checkpoint(hold.id, detail, self._clock()))
        if rewriter is not None and (rest := relay.feed(rewriter.end())) and not line.left:
            await line.send(rest)

    # -- meter ------------------------------------------------------------------------------------------------------

    async def _meter(  # noqa: PLR0917 – what one attempt was, in the order it became known
        self,
        plan: Plan,
        hold: Hold,
        option: Option,
        relay: Relay,
        outcome: Outcome,
        started: int,
        stream: Stream | None,
        error: ProviderError | None,
        line: Line,
    ) -> Settle:
        deployment = option.candidate.deployment
        counted = estimate(hold.input_estimate, relay.frames, "")
        raw: str | None = None
        # Where the answer was translated, the vendor's own words on what was used stand beside it.
        said = relay.usage if stream is None or stream.usage is None else stream.usage
        if said is not None:
            raw = orjson.dumps(said).decode()
            context = {} if stream is None else stream.context
            read = _read_usage(plan, option, said, context, relay.model, relay.last.get("service_tier"))
        else:
            why = "the client left" if outcome == "aborted" else "the stream broke" if error else "no usage was stated"
            if line.reason == "shutdown":
                why = "shutdown"
            counted = await _counted(plan.submission, [relay.text()], deployment.tokenizer, why)
            read = _Metered(counted, option.card)
        provider_request_id = stream.provider_request_id if stream is not None else None
        return settle(
            hold,
            read.usage,
            counted,
            read.card,
            outcome=outcome,
            started_at=started,
            ended_at=self._clock(),
            trust_reported=deployment.trust_reported_cost,
            raw_usage=raw,
            usage_context=read.context,
            http_status=error.status if error is not None and error.status else 200,
            provider_request_id=provider_request_id,
            upstream_model=relay.model,
        )

    # -- one whole answer -------------------------------------------------------------------------------------------

    async def _ask(self, plan: Plan, hold: Hold, option: Option, line: Line) -> Completed:
        started = self._clock()
        deployment = option.candidate.deployment
        try:
            provider, call = self._provider(plan, option), _call(plan, hold, option)
            if plan.submission.operation == "embeddings":
                reply = await _within(plan.until, provider.embed(call))
                fault.point("dispatched")
                body, answer = reply.body, await _embedded(reply, plan.submission)
            else:
                reply = await _within(plan.until, provider.ask(call))
                fault.point("dispatched")
                body, answer = _finished(reply)
        except ProviderError as error:
            raise AttemptFailed(error, self._released(plan, hold, started, error)) from None
        fault.point("metered")
        said = answer.get("usage") if reply.usage is None else reply.usage
        served = answer.get("model") if isinstance(answer.get("model"), str) else None
        written = [text for choice in answer.get("choices", ()) for text in generated(choice.get("message") or {})]
        if said is None:
            counted = await _counted(plan.submission, written, deployment.tokenizer, "no usage was stated")
            read = _Metered(counted, option.card)
        else:
            counted = estimate(hold.input_estimate, -(-sum(map(len, written)) // 2), "")
            read = _read_usage(plan, option, said, reply.context, served, answer.get("service_tier"))
        booking = settle(
            hold,
            read.usage,
            counted,
            read.card,
            outcome="aborted" if line.left else "completed",
            started_at=started,
            ended_at=self._clock(),
            trust_reported=deployment.trust_reported_cost,
            raw_usage=None if said is None else orjson.dumps(said).decode(),
            usage_context=read.context,
            http_status=reply.status,
            provider_request_id=reply.provider_request_id,
            upstream_model=served,
        )
        await self._book(booking)
        fault.point("settled")
        rewriter = plan.world.filters.rewriter(plan.filtered.vault) if plan.submission.operation == "chat" else None
        if rewriter is not None:
            body = await asyncio.to_thread(rewriter.whole, body) if len(body) > _INLINE_ANSWER else rewriter.whole(body)
            await self._keep_output(plan, option, rewriter)
        cost = format_krw(booking.total)
        receipt = Receipt(
            cost,
            booking.quality,
            option.place.model,
            hold.attempt,
            policy=plan.filtered.told,
            found=plan.filtered.counts,
            unresolved=self._unresolved(rewriter),
        )
        return Completed(body, receipt)

    # -- settle and record ------------------------------------------------------------------------------------------

    async def _book(self, op: Settle | Void) -> None:
        """Hand the booking to the writer, which tries until it is written, and wait for it as long as is reasonable."""
        written = self._writer.submit(op)
        # A timer of its own costs a fifth of asyncio.timeout, and every request waits here.
        timer = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, _give_up, written)
        try:
            booked = await written
        except TimeoutError:
            log.error("the booking of %s is waiting for the database", op.hold.id)
            return
        finally:
            timer.cancel()
        if isinstance(op, Settle):
            self._record(op, booked)

    def _record(self, op: Settle, booked: Booked) -> None:
        self._metrics.settled(op, booked)
        if booked.breach:
            log.error("hold breach: %s cost %s of %s micro-won held", op.hold.id, op.total, op.hold.amount)
        for case in op.cases:
            log.error("case %s: %s", case.kind, case.subject)

    def _released(self, plan: Plan, hold: Hold, started: int, error: ProviderError) -> Settle | Void:
        """What an attempt that delivered nothing is booked as.

        Never sent: nothing. Refused with a status: a row without quantities. Silent or broken after it was sent: the
        provider may bill the prompt, so that is what we book, marked as an estimate.
        """
        now = self._clock()
        if not error.sent:
            return Void(hold, "failed", now)
        if error.failure in (Failure.REFUSED, Failure.RATE_LIMITED, Failure.UNAVAILABLE):
            return nothing_used(hold, started_at=started, ended_at=now, reason=str(error), http_status=error.status)
        option = next(o for o in plan.options if o.place is hold.where)
        usage = estimate(hold.input_estimate, 0, f"nothing came back: {error.failure}")
        return settle(
            hold,
            usage,
            usage,
            option.card,
            outcome="failed",
            started_at=started,
            ended_at=now,
            http_status=error.status,
        )

    def _provider(self, plan: Plan, option: Option) -> Provider:
        return plan.world.providers[option.place.provider]


class _Reading:
    """While an upstream is being read: what happens to the reader when the client leaves.

    `cancel` stops it at once, `drain` lets it read to the usage frame, within limits. Settlement comes after this block and
    cannot be cancelled by anybody.
    """

    def __init__(self, exchange: Exchange, option: Option, line: Line, until: float) -> None:
        self._exchange = exchange
        self._until = until
        self._drain = option.candidate.deployment.on_disconnect == "drain"
        self._line = line
        self._active = False
        self._draining = False
        self.stopped = False
        #: Stopped because the request has taken as long as one may.
        self.expired = False

    def __enter__(self) -> _Reading:
        self._task = asyncio.current_task()
        self._active = True
        left = max(0.0, self._until - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(left, self._expire)
        self._line.when_left(self._left)
        return self

    def __exit__(self, *_: object) -> None:
        self._active = False
        self._timer.cancel()
        if self._draining:
            self._exchange._drains -= 1
        if self.stopped and self._task is not None:
            self._task.uncancel()

    def _left(self) -> None:
        if not self._active:
            return
        if self._drain and self._line.reason != "shutdown" and self._exchange._drains < _DRAINS:
            self._draining = True
            self._exchange._drains += 1
            asyncio.get_running_loop().call_later(_DRAIN_SECONDS, self._stop)
        else:
            self._stop()

    def _expire(self) -> None:
        self.expired = not self.stopped
        self._stop()

    def _stop(self) -> None:
        if self._active and not self.stopped and self._task is not None:
            self.stopped = True
            self._task.cancel()


# -- small steps -------------------------------------------------------------------------------------------------------


async def _within(until: float, answer: Awaitable[Reply]) -> Reply:
    task = asyncio.current_task()
    assert task is not None
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(max(0.0, until - time.monotonic()), expire)
    try:
        return await answer
    except asyncio.CancelledError:
        if not late:
            raise
        task.uncancel()
        raise _too_long() from None
    finally:
        timer.cancel()


def _give_up(written: asyncio.Future[Any]) -> None:
    if not written.done():
        written.set_exception(TimeoutError())


def _too_long() -> ProviderError:
    return ProviderError(Failure.TIMEOUT, sent=True, detail="the request took longer than one may")


def _again_unsent(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """The places in order; a lone one twice, because a connection that could not be made is worth one more try."""
    return options if len(options) > 1 else options * 2


def _may_try_elsewhere(error: ProviderError) -> bool:
    """A request the provider found wrong will be wrong elsewhere too; a bad credential of ours will not."""
    return error.failure is not Failure.REFUSED or error.status in (401, 402, 403)


def _ask_for(plan: Plan, option: Option, covered: tuple[Option, ...], bound: int) -> Ask:
    submission, model = plan.submission, option.candidate.model
    return ask(
        [(o.card, o.place.fx_rate_e6, o.place.vat_bp) for o in covered],
        input_bound=bound,
        wanted=0 if submission.operation == "embeddings" else submission.output_cap or model.max_output,
        choices=submission.choices,
        searches=_SEARCHES if "search" in submission.needs or "search" in model.capabilities else 0,
    )


def _family(submission: Submission, deployment: Deployment) -> tuple[str, str]:
    """Whose usage it is and in which shape: a vendor's embeddings have one of their own, whatever its answers speak."""
    provider, flavor = deployment.family
    return (provider, "embeddings") if submission.operation == "embeddings" else (provider, flavor)


class _Metered(NamedTuple):
    """A usage as it was read, the prices of whoever answered, and what it was read with beside itself, as JSON."""

    usage: Usage
    card: RateCard
    context: str | None = None


def _read_usage(  # noqa: PLR0917 – what was said, and everything beside it that says how to read it
    plan: Plan, option: Option, usage: Any, context: Mapping[str, Any], served: str | None, tier: object
) -> _Metered:
    """The provider's usage, for the model and in the service tier it says it served: that is what it bills."""
    deployment = option.candidate.deployment
    provider, flavor = _family(plan.submission, deployment)
    known = dict(context)
    search = plan.submission.body.get("web_search_options")
    if isinstance(search, dict) and search.get("search_context_size"):
        known.setdefault("search_context_size", search["search_context_size"])
    if tier not in _ORDINARY_TIERS and isinstance(tier, str):
        known["service_tier"] = tier
    beside = kept(known) if known else None
    if served:
        known["response_model"] = served
    found = extract(provider, flavor, usage, model=deployment.model, context=known)
    if beside:
        found = msgspec.structs.replace(found, conditions={**conditions_from(beside), **found.conditions})
    card = option.card
    if served and served != deployment.model:
        inside = deployment.destination == "inside"
        try:
            card = plan.world.book.card_served(
                option.place.price_key, deployment.model, served, from_us(plan.at), inside=inside
            )
        except NoPrice as missing:
            found = msgspec.structs.replace(found, quality="suspense", reason=f"unknown: {missing}")
    return _Metered(found, card, orjson.dumps(beside).decode() if beside else None)


async def _exact_bound(submission: Submission, tokenizer: str | None) -> int:
    if submission.operation == "embeddings":
        given = submission.body["input"]
        # Tokens come as numbers: one each, or a list of them for each text.
        numbers = [n for one in given for n in (one if isinstance(one, list) else [one]) if isinstance(n, int)]
        return len(numbers) + await tokens.count_in_thread(tokens.strings(given), tokenizer)
    messages = submission.body.get("messages")
    count = len(messages) if isinstance(messages, list) else 1
    counted = await tokens.count_in_thread(tokens.strings(submission.body), tokenizer)
    return counted + count * tokens.PER_MESSAGE


async def _counted(submission: Submission, written: list[str], tokenizer: str | None, reason: str) -> Usage:
    """Our own count of a request and of what came of it."""
    sent = await _exact_bound(submission, tokenizer)
    got = await tokens.count_in_thread(written, tokenizer)
    return estimate(sent, got, reason)


def _call(plan: Plan, hold: Hold, option: Option) -> Call:
    deployment = option.candidate.deployment
    body = dict(plan.submission.body)
    if plan.submission.operation == "chat":
        body[deployment.output_cap_field] = hold.output_cap
    return Call(hold.request_id, hold.attempt, deployment.model, body, plan.submission.purpose)


def _told(said: Any, booking: Settle, unresolved: int = 0) -> dict[str, Any]:
    """The usage a client reads: the provider's where that is what was booked, our own count where it was not."""
    if booking.quality == "exact" and isinstance(said, dict):
        usage = said
    else:
        sent = sum(line.quantity for line in booking.lines if line.meter in INPUT_METERS)
        got = sum(line.quantity for line in booking.lines if line.meter in OUTPUT_METERS)
        usage = {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got}
    ours: dict[str, Any] = {"cost_krw": format_krw(booking.total), "cost_quality": booking.quality}
    return {**usage, **ours, "unresolved_placeholders": unresolved} if unresolved else {**usage, **ours}


def _finished(reply: Reply) -> tuple[bytes, dict[str, Any]]:
    """The answer's bytes and value; a choice that called tools says so whatever the upstream said."""
    answer = orjson.loads(reply.body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise ProviderError(Failure.BROKEN, sent=True, status=reply.status, detail="no choices in the answer")
    changed = False
    for choice in choices:
        message = choice.get("message")
        if isinstance(message, dict) and message.get("tool_calls") and choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
            changed = True
    return (orjson.dumps(answer) if changed else reply.body), answer


class _Vectors(msgspec.Struct):
    """What of an embeddings answer is looked at; the vectors themselves are only counted."""

    data: list[msgspec.Raw]
    usage: Any = None
    model: Any = None


#: Above this many bytes even walking over the vectors takes long enough for other requests to notice.
_INLINE_VECTORS = 1 << 20


async def _embedded(reply: Reply, submission: Submission) -> dict[str, Any]:
    """What an embeddings answer says about itself. Raises ProviderError where it has not a vector for every text."""
    given = submission.body["input"]
    one_text = isinstance(given, str) or isinstance(given[0], int)
    read = msgspec.json.Decoder(_Vectors).decode
    try:
        found = await asyncio.to_thread(read, reply.body) if len(reply.body) > _INLINE_VECTORS else read(reply.body)
    except msgspec.DecodeError:
        found = _Vectors([])
    if len(found.data) != (1 if one_text else len(given)):
        raise ProviderError(Failure.BROKEN, sent=True, status=reply.status, detail="not a vector for every text")
    return {"usage": found.usage, "model": found.model}


def asker(principal: Principal) -> Asker:
    """Whose request it is, as far as the filters look at that."""
    return Asker(
        principal.user_id, principal.department_path, principal.grade, principal.key_id, principal.department_codes
    )


def _inside(world: World, submission: Submission, screening: Screening) -> list[str]:
    """Models the caller could use instead of one that may not have the text."""
    return [
        model.name
        for model in world.catalog
        if model.available
        and model.destination == "inside"
        and submission.needs <= model.capabilities
        and screening.decision(model.grade, "inside")[0].action in ("allow", "warn", "mask")
    ][:5]


def _cheaper(plan: Plan) -> list[str]:
    """Models the caller could use instead: free ones, whatever is left of the budget."""
    at = from_us(plan.at)
    found: list[str] = []
    for model in plan.world.catalog:
        if model.available and model.name != plan.submission.model and plan.submission.needs <= model.capabilities:
            card = plan.world.book.card(model.usable[0].price_key, at)
            if not card.ceiling(1000, 0 if plan.submission.operation == "embeddings" else 1000):
                found.append(model.name)
    return found[:5]

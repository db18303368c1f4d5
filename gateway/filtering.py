"""One request under the filters: read once, decided upon for every place it may go, changed only where it must be.

    body ─ leaving ─▶ texts ─ Scanner ─▶ Found… ─▶ Screening ─ for each place ─ Chain ─▶ Decision
                                                       │
           leave ◀─ clean: the body as it came         ├─ admits(model, destination)   the exchange asks for each candidate
           leave ◀─ masked: a copy, placeholders in it ┤
           PolicyBlocked ◀─ nobody may take it ────────┘

Fails closed: what could not be read to its end in time, or broke a detector, is decided by `policies.on_error`, which lets
nothing outside. Bytes that are no text (images, files, tokens) are findings of their own, `UNREADABLE`, that stay inside.

A conversation is never stuck: what stands in earlier turns is taken out rather than refused, a whole message where a mark or
an image makes it so. Clean text costs one look into what the scanner remembers, and leaves as the very object that came.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from gateway import policy_refusals
from gateway.errors import PolicyBlocked
from gateway.evidence.records import Evidence, Fingerprints, Item, items, worth_keeping
from gateway.leaving import Leaf, Leaving, Opaque, Path, at, leaving, pointer, replaced
from gateway.rewriting import Pipe, Rewriter
from policies.chain import Chain
from policies.decision import ACTIONS, Action, Decision, Destination, Finding, Found, Grade, stricter
from policies.detector import Match
from policies.detectors import DETECTORS
from policies.detectors.classmark import grade_of, variant_of
from policies.engine import Part, Scanner
from policies.masking import HINT, OutputGuard, Restorer, Seen, Span, Vault, conversation_key, mask
from policies.rules.actions import UNMASKABLE
from policies.rules.data_grade import detected_grade
from policies.subject import Exemption, Subject, Tightening

log = logging.getLogger("haechi.filtering")

UNREADABLE: Final = "UNREADABLE"

#: More code points than this are read in a thread: about 32 KB of Korean, and 0.3 ms of somebody else's waiting.
_INLINE: Final = 12_000

#: A label is put in front of values up to this long; in longer texts it would say nothing about what stands far away.
_LABELLED: Final = 2_000

#: What stands for something that had to be left out of an earlier turn.
_NOT_SHOWN: Final = "[[검사할 수 없어 제외된 내용]]"
_WITHHELD: Final = "[[보안 표시가 있어 제외된 내용]]"

NOTHING: Final[Mapping[Path, str]] = MappingProxyType({})

_LEAVES: Final[frozenset[Action]] = frozenset({"allow", "warn", "mask"})
_MASKED: Final[frozenset[Action]] = frozenset({"mask"})
_TAKEN_OUT: Final[frozenset[Action]] = frozenset({"mask", "route_local", "block"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen in one body. Of a finding `part` is the number of its place in `places`."""

    body: Mapping[str, Any]
    places: Sequence[Leaf | Opaque] = ()
    findings: tuple[Found, ...] = ()
    failed: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Filtered:
    """What leaves, and what its sender is told. `growth` is by how many bytes the body may have become longer.

    `vault` holds what was taken out and is to be put back into the answer; None where nothing is.
    """

    body: Mapping[str, Any]
    action: Action = "allow"
    rule: str = ""
    grade: Grade = "O"
    findings: tuple[Finding, ...] = ()
    growth: int = 0
    vault: Vault | None = field(default=None, repr=False)

    @property
    def told(self) -> str:
        """The value of `x-haechi-policy`; empty where there is nothing to tell."""
        return {"allow": "", "warn": "warned", "mask": "masked", "route_local": "routed_inside"}.get(self.action, "")

    @property
    def counts(self) -> str:
        """Kinds and how many of each were acted upon, as `x-haechi-policy-findings` has them: `PHONE=2, RRN=1`."""
        counted = Counter(finding.kind for finding in self.findings if finding.action != "allow")
        return ", ".join(f"{kind}={count}" for kind, count in sorted(counted.items()))


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request it is, as far as the rules look at that: `departments` from the own one to the root by id, `codes` the
    same by what people call them, as a dictionary's file has them."""

    user: str
    departments: tuple[str, ...] = ()
    grade: Grade = "O"
    key: str | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Which request a record is about, and where it goes or was to go."""

    evidence_id: str
    request_id: str
    surface: str
    model: str
    destination: Destination
    month: str


class Filters:
    """The filters of one world, compiled once. `threads` read what is large; `exemptions` are those that may be in force,
    `tightenings` where departments are stricter, both asked for with every request that has a finding.

    `seconds` is how long reading one request may take; `restore` puts masked values back into answers, `secret` makes their
    placeholders. `output` is what becomes of personal data and secrets that a model writes. Without `reads` nothing is looked at
    and only the declared grade decides: for a site that has its own inspection in front.
    """

    def __init__(
        self,
        scanner: Scanner,
        chain: Chain,
        threads: Executor,
        *,
        seconds: float,
        secret: bytes,
        reads: bool = True,
        restore: bool = False,
        output: Literal["off", "mask", "block"] = "off",
        exemptions: Callable[[], tuple[Exemption, ...]] = tuple,
        tightenings: Callable[[], tuple[Tightening, ...]] = tuple,
    ) -> None:
        self.scanner = scanner
        self.restore = restore
        self._reads = reads
        self._output = output
        self._chain = chain
        self._threads = threads
        self._seconds = seconds
        self._secret = secret
        self._exemptions = exemptions
        self._tightenings = tightenings
        # What a site brought along may ask somebody else and wait for an answer; nobody waits for it on the event loop.
        ours = {type(detector) for detector in DETECTORS}
        self._quick = all(type(detector) in ours for detector in scanner.detectors)
        self._clean: dict[tuple[Grade, Grade, Destination], Decision] = {}

    @property
    def version(self) -> str:
        return self.scanner.version

    async def screen(
        self, asker: Asker, body: Mapping[str, Any], grade: Grade, now: int, spelled: Mapping[Path, str] = NOTHING
    ) -> Screening:
        """Read a body. `grade` is what was declared for it; `now` UTC microseconds.

        `spelled`: path → the text in bytes that are none. It is read like any other, but nothing in it can be replaced.
        """
        if not self._reads:
            return Screening(self, asker, Reading(body), stricter(grade, asker.grade), now)
        found = leaving(body)
        if spelled:
            found.loose += [
                Leaf(opaque.path, spelled[opaque.path], "", opaque.newest, maskable=False)
                for opaque in found.opaque
                if opaque.path in spelled
            ]
            found.opaque = [opaque for opaque in found.opaque if opaque.path not in spelled]
        return Screening(self, asker, await self._read(body, found), stricter(grade, asker.grade), now)

    @property
    def on_error(self) -> Action:
        return self._chain.on_error

    def decide(self, subject: Subject) -> Decision:
        """What the rules say."""
        return self._chain.decide(subject)

    def clean(self, grade: Grade, accepts: Grade, destination: Destination) -> Decision:
        """What they say where nothing was found: there is only the grade to look at, so it is remembered."""
        key = (grade, accepts, destination)
        known = self._clean.get(key)
        if known is None:
            known = self._clean[key] = self._chain.decide(Subject(grade, accepts, destination))
        return known

    def exemptions(self) -> tuple[Exemption, ...]:
        return self._exemptions()

    def tightenings(self) -> tuple[Tightening, ...]:
        return self._tightenings()

    def rewriter(self, vault: Vault | None) -> Rewriter | None:
        """What an answer passes through on its way back; None where it passes as it is."""
        if vault is None and self._output == "off":
            return None

        def make(json: bool) -> Pipe:
            guard = None if self._output == "off" else OutputGuard(self._scan_answer, self._act_on_answer)
            return Pipe(guard, None if vault is None else Restorer(vault, json=json, particles=True))

        return Rewriter(make)

    def _scan_answer(self, text: str) -> tuple[Match, ...]:
        try:
            return self.scanner.scan(text)
        except Exception:  # whatever broke a detector, what was not read does not reach anybody
            log.exception("a detector failed on an answer")
            return (Match(UNREADABLE, 0, len(text), 1.0, "filters:error"),)

    def _act_on_answer(self, seen: Seen) -> Action:
        """As for a text on its way abroad; a mark in an answer is told and not cut out, for it is the whole text it is about."""
        if seen.kind == UNREADABLE:
            return "block"
        found = Found(seen.kind, seen.rule, seen.score, "", seen.start, seen.end)
        decision = self._chain.decide(Subject("O", "O", "foreign", (found,)))
        action = decision.findings[0].action if decision.findings else "allow"
        if seen.kind in UNMASKABLE:
            return "warn"
        if action in _LEAVES:
            return action
        return "block" if self._output == "block" else "mask"

    def vault(self, user: str) -> Vault:
        """For the placeholders of one person where no conversation is named: the same value has the same one in every turn."""
        return Vault(conversation_key(self._secret, "user", user))

    async def _read(self, body: Mapping[str, Any], found: Leaving) -> Reading:
        size = found.size
        try:
            if self._quick and size <= _INLINE:
                matches = self._matches(found)
            else:
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(self._seconds):
                    matches = await loop.run_in_executor(self._threads, self._matches, found)
        except TimeoutError:
            log.error("a request of %d characters was not read within %.1f s", size, self._seconds)
            return Reading(body, failed=True, size=size)
        except Exception:  # whatever broke a detector, what was not read does not leave
            log.exception("a detector failed")
            return Reading(body, failed=True, size=size)
        if not matches and not found.opaque:
            return Reading(body, size=size)
        places: list[Leaf | Opaque] = [*found.texts, *found.loose, *found.opaque]
        findings = [_found(match, number, places[number]) for number, match in matches]
        first = len(found.texts) + len(found.loose)
        findings += [
            Found(UNREADABLE, opaque.what, 1.0, str(first + number), 0, 0, opaque.newest)
            for number, opaque in enumerate(found.opaque)
        ]
        return Reading(body, places, tuple(findings), size=size)

    def _matches(self, found: Leaving) -> list[tuple[int, Match]]:
        """(number of the place, match in its text)"""
        texts = found.texts
        read = {number: written for number, leaf in enumerate(texts) if (written := unescaped(leaf.text)) is not None}
        if len(texts) == 1 and not read:
            matches = [(0, match) for match in self.scanner.scan(texts[0].text)]
        else:
            parts = [
                Part("", read[number].text if number in read else leaf.text, leaf.role, leaf.newest)
                for number, leaf in enumerate(texts)
            ]
            matches = [(located.part, located.match) for located in self.scanner.scan_parts(parts)]
            matches = [(number, read[number].back(match) if number in read else match) for number, match in matches]
        for number, leaf in enumerate(texts):
            if leaf.label and len(leaf.text) <= _LABELLED:
                known = [match for other, match in matches if other == number]
                matches += [(number, match) for match in self._labelled(leaf) if not _covered(match, known)]
        for number, leaf in enumerate(found.loose, len(texts)):
            matches += [
                (number, match) for match in (self._labelled(leaf) if leaf.label else self.scanner.scan(leaf.text))
            ]
        return matches

    def _labelled(self, leaf: Leaf) -> list[Match]:
        """What is found in a text once it is known what its field is called; offsets in the text alone."""
        ahead = f"{leaf.label}: "
        return [
            _moved(match, max(0, match.start - len(ahead)), match.end - len(ahead))
            for match in self.scanner.scan(ahead + leaf.text)
            if match.end > len(ahead)
        ]


class Screening:
    """What was read of one request, what each place may have of it, and what leaves in the end."""

    __slots__ = (
        "_accepted", "_asker", "_elsewhere", "_filters", "_grade", "_known", "_now", "_own", "_reading", "_refused", "_shown",
        "_withheld",
    )  # fmt: skip

    def __init__(self, filters: Filters, asker: Asker, reading: Reading, grade: Grade, now: int) -> None:
        self._filters = filters
        self._asker = asker
        self._reading = reading
        self._grade = grade
        self._now = now
        self._known: dict[tuple[Grade, Destination], tuple[Decision, frozenset[int]]] = {}
        self._accepted: Decision | None = None
        self._refused: Decision | None = None
        self._elsewhere: Decision | None = None
        self._own = False
        self._withheld: frozenset[int] = frozenset()
        self._shown: dict[str, str] | None = None

    # -- asked for every place ----------------------------------------------------------------------------------------

    def admits(self, accepts: Grade, destination: Destination, *, asked: bool = True) -> bool:
        """Whether this may go to a model that takes data up to `accepts` and runs at `destination`.

        `asked`: it is the model that was asked for, not one of its fallbacks. Answers add up: what leaves suits all places
        that were admitted.
        """
        decision, withheld = self.decision(accepts, destination)
        if decision.action in _LEAVES:
            self._accepted = _both(self._accepted, decision)
            self._withheld |= withheld
            self._own |= asked
            return True
        if asked:
            self._refused = _stricter(self._refused, decision)
        else:
            self._elsewhere = _stricter(self._elsewhere, decision)
        return False

    def decision(self, accepts: Grade, destination: Destination) -> tuple[Decision, frozenset[int]]:
        """What the rules say about one place, and which earlier messages have to be left out for it."""
        key = (accepts, destination)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._decide(accepts, destination)
        return known

    @property
    def refused(self) -> Decision | None:
        """The strictest decision that kept it from where it was to go."""
        return self._refused or self._elsewhere

    @property
    def blocked(self) -> bool:
        """Whether the model that was asked for may not have it at all: then no other one is tried instead."""
        return self._refused is not None and self._refused.action == "block" and not self._own

    @property
    def grade(self) -> Grade:
        """The stricter of what was declared and what was found."""
        return stricter(self._grade, detected_grade(self._reading.findings))

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def leave(self, vault: Vault | None = None) -> Filtered:
        """What goes to the places that were admitted: one body for all of them, as strict as the strictest wants it.

        `vault` is what is kept of a conversation that has a name; without one the placeholders are the person's.
        """
        reading, decision = self._reading, self._decided()
        action = decision.action
        if not decision.findings and not self._withheld:
            if vault is None or not self._filters.restore or not _mentioned(vault, reading.body):
                return Filtered(reading.body, action, decision.rule, self.grade)
            # Nothing was found because it was taken out in an earlier request: an answer may still speak of it.
            body, growth = _hinted(reading.body)
            return Filtered(body, action, decision.rule, self.grade, growth=growth, vault=vault)
        kept = vault is not None
        vault = self._filters.vault(self._asker.user) if vault is None else vault
        values = self._values(decision, vault)
        body = replaced(reading.body, values) if values else reading.body
        growth = sum(_bytes(new) - _bytes(at(reading.body, path)) for path, new in values.items())
        # What is new in the vault stands in the body; what was kept of the conversation has to be looked for.
        comes_back = self._filters.restore and (_mentioned(vault, body) if kept else bool(vault.values))
        restorable = vault if comes_back else None
        if restorable is not None:
            body, longer = _hinted(body)
            growth += longer
        return Filtered(
            body, action, decision.rule, self.grade, self.shown(decision.findings), max(0, growth), restorable
        )

    def refusal(self, alternatives: Sequence[str]) -> PolicyBlocked:
        """What the caller is told where no place may have it. `alternatives`: models inside that could."""
        decision = self.refused
        assert decision is not None
        if self._reading.failed:
            return policy_refusals.filter_failed(decision.rule)
        roles = {pointer(place.path): place.role for place in self._reading.places if isinstance(place, Leaf)}
        return policy_refusals.stopped(
            self.shown(decision.findings), roles, rule=decision.rule, grade=self.grade, alternatives=alternatives
        )

    @property
    def worth_keeping(self) -> bool:
        """Whether what was decided in the end leaves a record."""
        return worth_keeping(self._decided())

    def evidence(self, fingerprints: Fingerprints, request: Request) -> Evidence:
        """What was decided in the end, as it is kept."""
        decision = self._decided()
        return Evidence(
            id=request.evidence_id,
            at=self._now,
            month=request.month,
            stage="input",
            request_id=request.request_id,
            surface=request.surface,
            user_id=self._asker.user,
            department_id=self._asker.departments[0] if self._asker.departments else "",
            key_id=self._asker.key,
            model=request.model,
            destination=request.destination,
            declared=self._grade,
            grade=self.grade,
            action=decision.action,
            rule=decision.rule,
            version=self._filters.version,
            seen=self._reading.size,
            items=items(decision.findings, self._text_of, fingerprints),
        )

    def shown(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Findings with a JSON pointer for their place. A name a caller made up that is itself a finding reads `*`."""
        return tuple(replace(finding, part=self._pointer(finding.part)) for finding in findings)

    def checked(
        self, accepts: Grade, destination: Destination, vault: Vault | None = None
    ) -> tuple[Decision, Mapping[str, Any] | None]:
        """What would become of it at one place, and a body that could go there instead: None where this one could, or none can.

        Whoever only asks may take out what would be refused as well; the same text without it is another request.
        """
        decision, self._withheld = self.decision(accepts, destination)
        shown = replace(decision, findings=self.shown(decision.findings))
        if decision.action in ("allow", "warn") or not self._may_be_mended(decision, accepts, destination):
            return shown, None
        vault = self._filters.vault(self._asker.user) if vault is None else vault
        values = self._values(decision, vault, _TAKEN_OUT)
        return shown, replaced(self._reading.body, values)

    def _may_be_mended(self, decision: Decision, accepts: Grade, destination: Destination) -> bool:
        """Whether taking out what was found would be enough."""
        if self._reading.failed or self._ask((), accepts, destination).action not in _LEAVES:
            return False
        stays = [finding for finding in decision.findings if finding.action not in _LEAVES]
        return all(
            finding.kind not in UNMASKABLE
            and isinstance(place := self._reading.places[int(finding.part)], Leaf)
            and place.maskable
            for finding in stays
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _decided(self) -> Decision:
        """What counts in the end: what leaves, or why nothing does."""
        if self._accepted is None or self.blocked:
            assert self.refused is not None
            return self.refused
        narrowed = self._refused is not None and not self._own
        if narrowed and self._accepted.action != "mask":
            assert self._refused is not None
            return Decision("route_local", self._refused.rule, self._accepted.findings)
        return self._accepted

    def _text_of(self, finding: Finding) -> str:
        place = self._reading.places[int(finding.part)]
        return place.text[finding.start : finding.end] if isinstance(place, Leaf) else ""

    def _decide(self, accepts: Grade, destination: Destination) -> tuple[Decision, frozenset[int]]:
        reading = self._reading
        if reading.failed:
            return self._failure(accepts, destination), frozenset()
        everything = self._ask(reading.findings, accepts, destination)
        if everything.action in _LEAVES or not reading.findings:
            return everything, frozenset()
        # What cannot be taken out of an earlier turn piece by piece goes as a whole message, if that is all there is to it.
        at_fault = [finding.part for finding in everything.findings if finding.action not in _LEAVES]
        at_fault += [found.part for found in reading.findings if found.grade != "O"]
        indexes = {_history(reading.places[int(part)]) for part in at_fault}
        withheld = frozenset(index for index in indexes if index is not None)
        if not withheld:
            return everything, withheld
        rest = tuple(f for f in reading.findings if _history(reading.places[int(f.part)]) not in withheld)
        without = self._ask(rest, accepts, destination)
        if without.action not in _LEAVES:
            return everything, frozenset()
        gone = tuple(
            replace(finding, action="mask")
            for finding in everything.findings
            if _history(reading.places[int(finding.part)]) in withheld
        )
        return Decision("mask", everything.rule, (*gone, *without.findings)), withheld

    def _ask(self, findings: tuple[Found, ...], accepts: Grade, destination: Destination) -> Decision:
        if not findings:
            return self._filters.clean(self._grade, accepts, destination)
        decision = self._filters.decide(
            Subject(
                self._grade,
                accepts,
                destination,
                findings,
                (*self._asker.departments, *self._asker.codes),
                self._filters.exemptions(),
                self._now,
                self._filters.tightenings(),
            )
        )
        return self._firm(decision)

    def _firm(self, decision: Decision) -> Decision:
        """A number or a name cannot be replaced by a placeholder: where it would be masked, it stays inside."""
        fixed = [
            finding.action == "mask" and isinstance(place := self._reading.places[int(finding.part)], Leaf)
            and not place.maskable
            for finding in decision.findings
        ]  # fmt: skip
        if not any(fixed):
            return decision
        findings = tuple(
            replace(finding, action="route_local") if stays else finding
            for finding, stays in zip(decision.findings, fixed, strict=True)
        )
        strictest = max((decision.action, "route_local"), key=ACTIONS.index)
        return Decision(strictest, decision.rule, findings)

    def _failure(self, accepts: Grade, destination: Destination) -> Decision:
        """Nobody knows what is in it: as the operator decided, which is nowhere or at most inside."""
        on_error = self._filters.on_error
        if on_error == "block" or destination != "inside":
            return Decision(on_error, "filters:error")
        return self._ask((), accepts, destination)

    def _values(self, decision: Decision, vault: Vault, taken_out: frozenset[Action] = _MASKED) -> dict[Path, Any]:
        """What stands where after masking: path → new value."""
        places = self._reading.places
        spans: dict[int, list[Span]] = {}
        values: dict[Path, Any] = {}
        for finding in decision.findings:
            number = int(finding.part)
            place = places[number]
            if finding.action not in taken_out or (self._withheld and _history(place) in self._withheld):
                continue
            if isinstance(place, Leaf):
                spans.setdefault(number, []).append(Span(finding.kind, finding.start, finding.end))
            else:
                values[place.path] = {"type": "text", "text": _NOT_SHOWN} if place.in_part else _NOT_SHOWN
        for number, taken in spans.items():
            place = places[number]
            assert isinstance(place, Leaf)
            values[place.path] = mask(place.text, taken, vault).text
        for index in self._withheld:
            values |= _emptied(self._reading.body["messages"][index], index)
        return values

    def _pointer(self, part: str) -> str:
        if self._shown is None:
            self._shown = {}
            found = {int(f.part) for f in self._reading.findings}
            names = {
                place.text
                for number in found
                if isinstance(place := self._reading.places[number], Leaf) and not place.maskable
            }
            for number in found:
                path = self._reading.places[number].path
                self._shown[str(number)] = pointer(tuple("*" if step in names else step for step in path))
        return self._shown[part]


def output_evidence(  # noqa: PLR0917 – who asked what, and what was found in the answer
    filters: Filters, asker: Asker, request: Request, at_us: int, action: Action, seen: int, found: tuple[Item, ...]
) -> Evidence:
    """What the guard found in an answer, as it is kept."""
    return Evidence(
        id=request.evidence_id,
        at=at_us,
        month=request.month,
        stage="output",
        request_id=request.request_id,
        surface=request.surface,
        user_id=asker.user,
        department_id=asker.departments[0] if asker.departments else "",
        key_id=asker.key,
        model=request.model,
        destination=request.destination,
        declared=asker.grade,
        grade=asker.grade,
        action=action,
        rule="output",
        version=filters.version,
        seen=seen,
        items=found,
    )


def _found(match: Match, number: int, place: Leaf | Opaque) -> Found:
    return Found(
        match.kind,
        match.rule,
        match.score,
        str(number),
        match.start,
        match.end,
        place.newest,
        variant_of(match.rule),
        grade_of((match,)),
    )


def _covered(match: Match, known: Sequence[Match]) -> bool:
    return any(other.start <= match.start and other.end >= match.end and other.score >= match.score for other in known)


def _history(place: Leaf | Opaque) -> int | None:
    """Which earlier message a place belongs to; None for the newest turn and for what is no message."""
    if place.newest or place.path[0] != "messages" or len(place.path) < 2:
        return None
    return int(place.path[1])


def _emptied(message: Mapping[str, Any], index: int) -> dict[Path, Any]:
    """An earlier message without what it said: its role and its calls' names stay, for the answers to them refer to these."""
    values: dict[Path, Any] = {
        ("messages", index, name): _WITHHELD for name in ("content", "refusal") if message.get(name) is not None
    }
    for number, call in enumerate(message.get("tool_calls") or ()):
        for kind, given in (("function", "arguments"), ("custom", "input")):
            if isinstance(call.get(kind), dict) and given in call[kind]:
                values["messages", index, "tool_calls", number, kind, given] = "{}"
    call = message.get("function_call")
    if isinstance(call, dict):
        values["messages", index, "function_call"] = {**call, "arguments": "{}"}
    return values


def _hinted(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """The body with a word to the model about placeholders, and how many bytes that is."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body, 0
    longer = _bytes(HINT) + 64
    first = messages[0]
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        return {**body, "messages": [{**first, "content": f"{first['content']}\n\n{HINT}"}, *messages[1:]]}, longer
    return {**body, "messages": [{"role": "system", "content": HINT}, *messages]}, longer


def _mentioned(vault: Vault, body: Mapping[str, Any]) -> bool:
    """Whether a placeholder of this conversation leaves with the body, however it is spelled: only then can an answer use it."""
    if not vault.values:
        return False
    written = json.dumps(body, ensure_ascii=False).casefold()
    return any(token[2:-2].rpartition(":")[2] in written for token in vault.values)


def _bytes(value: Any) -> int:
    """How long a text may be as JSON; of anything else nothing, which only makes the bound larger."""
    return len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0


def _stricter(one: Decision | None, other: Decision) -> Decision:
    return one if one is not None and ACTIONS.index(one.action) >= ACTIONS.index(other.action) else other


def _both(one: Decision | None, other: Decision) -> Decision:
    """What satisfies two places: of each finding the stricter action."""
    if one is None or (not one.findings and not other.findings):
        return _stricter(one, other)
    findings = {(f.kind, f.part, f.start, f.end): f for f in one.findings}
    for finding in other.findings:
        key = (finding.kind, finding.part, finding.start, finding.end)
        known = findings.get(key)
        if known is None or ACTIONS.index(known.action) < ACTIONS.index(finding.action):
            findings[key] = finding
    stricter_one = _stricter(one, other)
    return Decision(stricter_one.action, stricter_one.rule, tuple(findings.values()))


# -- text inside JSON inside a string ----------------------------------------------------------------------------------

#: Two escapes that make one letter · one that is a letter · one letter's own escape.
_ESCAPED = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([\"\\/bfnrt]))"
)
_SHORT = {"b": " ", "f": "\n", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Unescaped:
    """A JSON text with its escapes read as the letters they are, and where each letter came from."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def back(self, match: Match) -> Match:
        return _moved(match, self.starts[match.start], self.ends[match.end - 1])


def _moved(match: Match, start: int, end: int) -> Match:
    return Match(match.kind, start, end, match.score, match.rule, match.evidence)


def unescaped(text: str) -> Unescaped | None:
    """What a model reads in a tool's arguments: letters written in ASCII, line ends, quotes; None where nothing is written so."""
    if "\\" not in text or text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    whole = _is_json(text)
    if not whole and "\\u" not in text:
        return None
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for escape in _ESCAPED.finditer(text):
        high, low, one, short = escape.groups()
        if high is not None:
            letter = chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
        elif one is not None:
            letter = chr(int(one, 16))
        elif whole:
            letter = _SHORT.get(short, short)
        else:
            continue
        begin, end = escape.span()
        pieces += (text[done:begin], letter)
        starts += (*range(done, begin), begin)
        ends += (*range(done + 1, begin + 1), end)
        done = end
    pieces.append(text[done:])
    starts += range(done, len(text))
    ends += range(done + 1, len(text) + 1)
    return Unescaped("".join(pieces), starts, ends)


def _is_json(text: str) -> bool:
    """Whether backslashes are escapes here, and no part of a path or a password."""
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True

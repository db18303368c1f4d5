"""A decision of the filters as it is kept: who, where to, what kinds and how many, what became of it. Never the value.

    findings ─▶ items(…) ─▶ Item: kind, rule, how sure, action, how many, keyed hashes of the values
    Evidence(… items) ─▶ recorder.record(…)

Written when something was found or something other than plain `allow` was decided; a clean request leaves no record and costs
nothing. A finding that was allowed (personal data to a model of our own) is written too: "only logged" means that it is, and a
dry run of stricter rules could not see it otherwise.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.decision import Action, Band, Decision, Destination, Finding, Grade, band

#: Input: what would have left. Output: what came back.
Stage = Literal["input", "output"]

#: Written with or without separators, these are the same number.
_NUMBERS = frozenset(
    "RRN FRN PASSPORT DRIVER_LICENSE PHONE ACCOUNT CARD BRN CORP NHIS PLATE BIRTHDATE".split()  # noqa: SIM905
)

#: A file full of telephone numbers is one record; so many hashes of each kind are kept, and all are counted.
_DIGESTS = 64


class Fingerprints:
    """Keyed hashes by which two occurrences of a value can be told to be one, and by which nothing else can be told.

    `pepper` is the installation's secret: without it, nobody can try out which number a hash belongs to.
    """

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"haechi evidence 1", "sha256")

    def of(self, kind: str, value: str) -> str:
        """32 hexadecimal digits. Width and case make no difference; in numbers separators do not either, elsewhere spaces."""
        plain = unicodedata.normalize("NFKC", value).casefold()
        kept = (c for c in plain if (c.isalnum() if kind in _NUMBERS else not c.isspace()))
        said = f"{kind}\0{''.join(kept)}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, said, "sha256")[:16].hex()


@dataclass(frozen=True, slots=True)
class Item:
    """Findings that are alike. `newest` is false for what an earlier turn said; `digests` are of distinct values, sorted."""

    kind: str
    rule: str
    band: Band
    action: Action
    newest: bool
    count: int
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One decision. `at` in UTC microseconds, `month` (YYYY-MM) in the organisation's zone.

    `declared` is the grade the request came with, `grade` the one that counted. `rule` is what decided, `version` which rules
    were in force (the scanner's). `seen` is how many characters were looked at: of an answer, no more than really passed the
    guard.
    """

    id: str
    at: int
    month: str
    stage: Stage
    request_id: str
    surface: str
    user_id: str
    department_id: str
    key_id: str | None
    model: str
    destination: Destination
    declared: Grade
    grade: Grade
    action: Action
    rule: str
    version: str
    seen: int
    items: tuple[Item, ...] = ()


def worth_keeping(decision: Decision) -> bool:
    """Whether a decision leaves a record."""
    return decision.action != "allow" or bool(decision.findings)


def items(findings: Sequence[Finding], value: Callable[[Finding], str], fingerprints: Fingerprints) -> tuple[Item, ...]:
    """What a decision rests on. `value` reads the text of a finding, which goes no further than its hash."""
    counts: dict[tuple[str, str, Band, Action, bool], int] = {}
    digests: dict[tuple[str, str, Band, Action, bool], set[str]] = {}
    for finding in findings:
        sure = band(finding.score)
        if sure is None:
            continue
        alike = (finding.kind, finding.rule, sure, finding.action, finding.newest)
        counts[alike] = counts.get(alike, 0) + 1
        of_kind = digests.setdefault(alike, set())
        if len(of_kind) < _DIGESTS:
            of_kind.add(fingerprints.of(finding.kind, value(finding)))
    return tuple(Item(*alike, count, tuple(sorted(digests[alike]))) for alike, count in sorted(counts.items()))

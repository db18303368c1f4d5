"""What a site may say about its own text: whose numbers, addresses and mailboxes are public, and words of its departments.

Data, never code: a `Rules` value is loaded whole or not at all, and its `fingerprint` is part of every scanner's version.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from policies.decision import Action


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Words and RE2 expressions a department wants to hear of, such as code names of projects, and what becomes of a hit.

    `department` is a department's code (or id), for it and those below it; empty for everybody. `score` is that of a hit (see
    `detector`).
    """

    name: str
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    department: str = ""
    action: Action = "warn"
    score: float = 0.9


@dataclass(frozen=True, slots=True)
class Rules:
    """`phones`: public numbers, digits and hyphens, a trailing `*` for a whole range (`02-2133-*`).

    `addresses`: the agency's own, as written (`세종대로 110`). `mail_domains`: the agency's own, whose role mailboxes are
    public; `mailboxes`: which names are roles. `off`: names of detectors that are switched off. `pack`: the version of the
    files all this was read from.
    """

    phones: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    mail_domains: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = (
        "webmaster",
        "help",
        "info",
        "contact",
        "press",
        "admin",
        "noreply",
        "no-reply",
        "support",
    )
    dictionaries: tuple[Dictionary, ...] = ()
    off: frozenset[str] = frozenset()
    pack: str = ""

    @property
    def fingerprint(self) -> str:
        """The same for the same rules, whatever order they were read in."""
        plain = asdict(self) | {"off": sorted(self.off)}
        return hashlib.sha256(json.dumps(plain, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]

"""Who did what to which object, when and from where: the record that is only ever added to.

    Actor (a person's e-mail and address, or the operating-system user) ─┐
    action "key.revoke" · object "key:hc_live_Ab3d" · detail {old, new} ─┼─▶ Record ─▶ directory/store.append_audit
    at (UTC microseconds) ───────────────────────────────────────────────┘   in the transaction of the deed itself

A deed and its record commit together or not at all. Both databases refuse UPDATE and DELETE of a record by trigger; the
one sealer puts the rows into the hash chain `audit` within seconds, and `haechi verify` walks it. A detail never holds a
secret, a prompt or another person's password: only what changed.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is an e-mail address, or `os:<login>` for a command; `origin` an IP address, or `cli`."""

    name: str
    origin: str


@dataclass(frozen=True, slots=True)
class Record:
    """One deed. `action` is `noun.verb`, `object` is `kind:identifier`; `detail` becomes canonical JSON."""

    id: str
    at: int
    actor: Actor
    action: str
    object: str
    detail: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    def detail_json(self) -> str:
        """Sorted keys and no spaces: the same detail is the same bytes, so that it can be hashed."""
        return json.dumps(dict(self.detail), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def operator() -> Actor:
    """Whoever runs this process, by the kernel's word and not by a variable they could set."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run under a number nobody named
        name = str(uid)
    return Actor(f"os:{name}", "cli")

"""A pack → the detectors that read by it. Those whose words are the shipped ones are the shipped detectors themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.detector import Detector
from policies.detectors import DETECTORS, address, classmark, email, keyword, person, secret
from policies.pack import Pack, shipped

#: Whose file reads which section of a pack.
_BUILDS: tuple[tuple[Detector, str, Callable[[Any], Detector]], ...] = (
    (secret.detector, "secrets", secret.Credential),
    (classmark.detector, "marks", classmark.ClassificationMark),
    (email.detector, "email", email.Address),
    (keyword.detector, "keywords", keyword.Keyword),
    (address.detector, "places", address.PostalAddress),
    (person.detector, "names", person.PersonName),
)


def detectors_of(pack: Pack) -> tuple[Detector, ...]:
    """In the order of the registry."""
    base = shipped()
    rebuilt = {
        shipped_one.name: build(getattr(pack, section))
        for shipped_one, section, build in _BUILDS
        if getattr(pack, section) != getattr(base, section)
    }
    return tuple(rebuilt.get(detector.name, detector) for detector in DETECTORS)

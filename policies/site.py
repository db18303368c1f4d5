"""Detectors that a site adds: `module:name` in the configuration → the detector itself, or one error that says what to do.

What is named is code that runs in this process with this process's rights, so only the operator's own configuration names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final, cast

from policies.detector import Detector
from policies.detectors import DETECTORS

_ATTRIBUTES: Final = ("name", "kind", "words", "shapes", "detect")


class DetectorRefused(ValueError):
    """A detector that cannot be used. Nothing of the list is: a filter that is silently missing is worse than none."""

    def __init__(self, entry: str, problem: str, remedy: str) -> None:
        super().__init__(f"{entry}: {problem} → {remedy}")


def detectors(entries: Sequence[str]) -> tuple[Detector, ...]:
    """The detectors named, in order. Raises DetectorRefused for the first that is not one."""
    names = {detector.name for detector in DETECTORS}
    found = []
    for entry in entries:
        detector = _one(entry)
        if detector.name in names:
            raise DetectorRefused(entry, f"이름이 겹침 (name taken): {detector.name}", "이름을 바꾸십시오 (rename it)")
        names.add(detector.name)
        found.append(detector)
    return tuple(found)


def _one(entry: str) -> Detector:
    module, colon, name = entry.partition(":")
    if not (module and colon and name):
        raise DetectorRefused(entry, "모듈:이름이 아님 (not module:name)", "예: 우리기관.filters:detector")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # whatever a site's module raises, the operator hears of it by its entry
        raise DetectorRefused(
            entry, f"불러올 수 없음 (cannot be imported): {error}", "PYTHONPATH와 모듈을 확인하십시오 (check both)"
        ) from error
    given: Any = getattr(loaded, name, None)
    missing = [each for each in _ATTRIBUTES if not hasattr(given, each)]
    if missing:
        raise DetectorRefused(
            entry,
            f"검출기가 아님 (no detector, lacks {', '.join(missing)})",
            "policies/detector.py를 보십시오 (see there)",
        )
    return cast(Detector, given)

"""One file per kind of sensitive text; `DETECTORS` lists what a default installation looks for."""

from policies.detector import Detector
from policies.detectors import rrn

DETECTORS: tuple[Detector, ...] = (rrn.detector,)

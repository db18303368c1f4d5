"""One file per kind of sensitive text; `DETECTORS` lists what a default installation looks for."""

from policies.detector import Detector
from policies.detectors import (
    account,
    birthdate,
    brn,
    card,
    classmark,
    corp,
    driver_license,
    frn,
    ip,
    nhis,
    passport,
    phone,
    plate,
    rrn,
    secret,
)

DETECTORS: tuple[Detector, ...] = (
    rrn.detector,
    frn.detector,
    passport.detector,
    driver_license.detector,
    phone.detector,
    card.detector,
    account.detector,
    brn.detector,
    corp.detector,
    nhis.detector,
    plate.detector,
    birthdate.detector,
    ip.detector,
    secret.detector,
    classmark.detector,
)

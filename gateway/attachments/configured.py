"""config.yaml's `attachments` → who looks at an upload first, and who reads it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.attachments.extracted import Bounds
from gateway.attachments.extractor import ChildExtractor, Extractor, Spend
from gateway.attachments.icap import IcapInspector
from gateway.attachments.inspector import HttpInspector, Inspector, Nobody
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Readers:
    """What stands between an upload and its text."""

    inspector: Inspector
    extractor: Extractor


def build(settings: Settings) -> Readers:
    """Nothing is connected or started by it."""
    given = settings.attachments
    # Few uploads unpack to more than three times the largest that is taken; those that do are refused with a reason.
    bounds = Bounds(unpacked=max(Bounds().unpacked, 3 * given.max_bytes))
    spend = Spend(given.read_seconds, given.read_memory_mb * 1024 * 1024, given.reads_at_once)
    return Readers(_inspector(settings), ChildExtractor(spend, bounds, ocr=given.ocr))


def _inspector(settings: Settings) -> Inspector:
    given = settings.attachments.inspector
    if given is None:
        return Nobody()
    # A disarmed or decrypted file may be larger than what came, by headers and by what compression was lost.
    most = 2 * settings.attachments.max_bytes
    if given.kind == "icap":
        return IcapInspector(given.url, mode=given.mode, seconds=given.seconds, most_bytes=most)
    token = settings.inspector_token
    return HttpInspector(
        given.url, seconds=given.seconds, most_bytes=most, token=token.get_secret_value() if token else None
    )

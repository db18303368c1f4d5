"""Builds the labelled set from its sources: `python -m policies.evaluation.make`. The same sources give the same bytes.

A source is text as people write it, with marks where values go:

    <<RRN:h>>            a synthetic value of that kind and style (values.py), labelled with the kind
    <<PERSON=김서준>>     this text, labelled with the kind
    <<PHONE:h|wide>>     the value written so as to evade (evasions.py); also after `=`
    <<PHONE:h@caller>>   remembered: a further <<PHONE@caller>> in the same case is the same value
    <<~ean13:dated>>     a number that looks like something and is nothing: not labelled
    <<//>>               a new message of the conversation begins here

In `*.txt` every line is one case (`\\n` and `\\t` stand for what they say) under a section heading
`== name | group=… | should=…`; a line may begin with its own `mask! `, `warn! `, `block! ` or `allow! `.
In `documents/*.txt` the heading is the first line and the rest of the file is one case.
Every third case of a section is `held_out`: reported apart, and not looked at while detectors are written.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from policies.evaluation.evasions import BREAK, evade
from policies.evaluation.values import value

HERE = Path(__file__).parent
SEED = "haechi-2026-11"
HEADING = re.compile(r"== (?P<name>[\w-]+) \| group=(?P<group>\w+) \| should=(?P<should>\w+)")
OWN = re.compile(r"(allow|warn|mask|block)! ")
MARK = re.compile(r"<<(?:(?P<break>//)|(?P<name>~?\w+)(?:@(?P<again>\w+)|[:=|].*?)?)>>", re.DOTALL)
INNER = re.compile(
    r"(?P<name>~?\w+)(?:(?P<how>[:=])(?P<what>.*?))?(?:\|(?P<evade>[\w+-]+))?(?:@(?P<keep>[a-z]\w*))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the set, as it is written to the file."""

    id: str
    text: str
    spans: tuple[tuple[int, int, str], ...]
    should: str
    group: str
    split: str
    breaks: tuple[int, ...] = ()

    def line(self) -> str:
        record: dict[str, object] = {
            "id": self.id,
            "text": self.text,
            "spans": [{"start": start, "end": end, "kind": kind} for start, end, kind in self.spans],
            "should": self.should,
            "group": self.group,
            "split": self.split,
        }
        if self.breaks:
            record["breaks"] = list(self.breaks)
        return json.dumps(record, ensure_ascii=False)


def expand(source: str, case: str) -> tuple[str, tuple[tuple[int, int, str], ...], tuple[int, ...]]:
    """The text, its spans in code points, and where further messages begin. Values depend on the seed and the case's id alone."""
    draw = Random(f"{SEED}/{case}")  # noqa: S311 - synthetic values that come out the same each time, not secrets
    kept: dict[str, tuple[str, str]] = {}
    out, spans, breaks, length, at = [], [], [], 0, 0

    def put(text: str) -> int:
        nonlocal length
        pieces = text.split(BREAK)
        for i, piece in enumerate(pieces):
            if i:
                breaks.append(length)
            out.append(piece)
            length += len(piece)
        return length

    for mark in MARK.finditer(source):
        put(source[at : mark.start()])
        at = mark.end()
        if mark["break"]:
            put(BREAK)
            continue
        if mark["again"] in kept:
            kind, text = kept[mark["again"]]
        else:
            inner = INNER.fullmatch(mark[0][2:-2])
            if inner is None:
                raise ValueError(f"{case}: {mark[0]} is no mark")
            kind = inner["name"]
            text = str(inner["what"]) if inner["how"] == "=" else value(draw, kind, inner["what"] or "")
            if inner["evade"]:
                text = evade(text, inner["evade"])
            if inner["keep"]:
                kept[inner["keep"]] = (kind, text)
        start = length
        end = put(text)
        if not kind.startswith("~"):
            spans.append((start, end, kind))
    put(source[at:])
    return "".join(out), tuple(spans), tuple(breaks)


def build(name: str, source: str, heading: re.Match[str], ordinal: int) -> Case:
    own = OWN.match(source)
    should = own[1] if own else heading["should"]
    source = source[own.end() :] if own else source
    text, spans, breaks = expand(source, name)
    if heading["name"].endswith("-nfd"):
        text, spans = decomposed(text, spans)
    return Case(name, text, spans, should, heading["group"], "held_out" if ordinal % 3 == 0 else "open", breaks)


def decomposed(text: str, spans: tuple[tuple[int, int, str], ...]) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """The whole case in NFD, as a Mac writes file names; offsets follow."""

    def moved(at: int) -> int:
        return len(unicodedata.normalize("NFD", text[:at]))

    return unicodedata.normalize("NFD", text), tuple((moved(start), moved(end), kind) for start, end, kind in spans)


def short(path: Path) -> Iterator[Case]:
    heading, ordinal = None, 0
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("== "):
            heading, ordinal = HEADING.fullmatch(line), 0
            if heading is None:
                raise ValueError(f"{path.name}:{number}: not a heading: {line}")
        elif line.strip() and not line.startswith("# "):
            if heading is None:
                raise ValueError(f"{path.name}:{number}: a case before the first heading")
            ordinal += 1
            source = line.replace("\\n", "\n").replace("\\t", "\t")
            yield build(f"{heading['name']}-{ordinal:03d}", source, heading, ordinal)


def documents(folder: Path) -> Iterator[Case]:
    for ordinal, path in enumerate(sorted(folder.glob("*.txt")), 1):
        first, _, rest = path.read_text("utf-8").partition("\n")
        heading = HEADING.fullmatch(first)
        if heading is None:
            raise ValueError(f"{path.name}: the first line is no heading")
        yield build(heading["name"], rest.rstrip("\n"), heading, ordinal)


def everything() -> dict[str, list[Case]]:
    """File name -> its cases."""
    source = HERE / "source"
    made = {f"{path.stem}.jsonl": list(short(path)) for path in sorted(source.glob("*.txt"))}
    made["documents.jsonl"] = list(documents(source / "documents"))
    return made


def main() -> None:
    for name, cases in everything().items():
        (HERE / name).write_text("".join(case.line() + "\n" for case in cases), "utf-8")


if __name__ == "__main__":
    main()

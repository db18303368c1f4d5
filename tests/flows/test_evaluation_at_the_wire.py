"""The labelled set through the whole gateway: what the evaluation counts as caught is not on the upstream's socket.

The evaluation asks the scanner and the rules; a person's request passes through much more. Here every case is asked of a gateway,
and the bytes that its upstream received are read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from flows.inside import Inside, opened

from gateway import tokens
from gateway.providers.scripted import Script, ScriptedEngine
from gateway.providers.scripted_server import serve
from policies.decision import ACTIONS
from policies.engine import Scanner
from policies.evaluate import SHIPPED, Case, Label, Outcome, judge, read, survives
from policies.rules.actions import DEFAULT_TABLE

CASES = tuple(case for path in SHIPPED for case in read(path))

PRICES = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: written for this test
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "1", output: "4"}
"""


Body: TypeAlias = Callable[[Case], dict[str, Any]]


class Upstream:
    """Answers as the scripted upstream does, and keeps the texts of the last body it was sent."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(faults=False, pace=0)
        self.texts: list[str] | None = None

    def answer(self, path: str, body: bytes) -> Script:
        self.texts = list(tokens.strings(json.loads(body)))
        return self._engine.answer(path, body)


def configuration(base_url: str) -> dict[str, Any]:
    """One foreign model that may take open data."""
    model = {"name": "abroad", "title": {"ko": "밖", "en": "abroad"}, "grade": "O"}
    can = {"capabilities": ["chat", "tools", "embeddings"], "context": 100_000, "max_output": 50}
    place = {"deployments": [{"provider": "foreign", "model": "abroad", "price": "acme/model"}]}
    account = {"kind": "openai_compatible", "base_url": base_url, "destination": "foreign", "family": "openai/chat"}
    return {"organisation": {"name": "데모시"}, "providers": {"foreign": account}, "models": [model | can | place]}


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    made = Upstream()
    async with serve(made) as server:
        yield made, server.base_url


@pytest.fixture
async def inside(upstream: tuple[Upstream, str], tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[Inside]:
    folder, given = tmp_path / "gateway", configuration(upstream[1])
    async with opened(folder, migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


def pieces(case: Case) -> list[str]:
    """The messages a case is written over; most are one."""
    edges = [0, *case.breaks, len(case.text)]
    return [case.text[start:end] for start, end in pairwise(edges)]


def user(case: Case) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": piece} for piece in pieces(case)]}


def parts(case: Case) -> dict[str, Any]:
    content = [{"type": "text", "text": "다음을 요약해 줘"}, {"type": "text", "text": case.text}]
    return {"messages": [{"role": "user", "content": content}]}


def system(case: Case) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": case.text}, {"role": "user", "content": "안녕하세요"}]}


def history(case: Case) -> dict[str, Any]:
    turns = [("user", case.text), ("assistant", "네"), ("user", "계속해 줘")]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def tool_result(case: Case) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = [{"role": "user", "content": "찾아 줘"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": [*asked, {"role": "tool", "tool_call_id": "call_1", "content": case.text}]}


def tool_argument(case: Case) -> dict[str, Any]:
    arguments = json.dumps({"text": case.text}, ensure_ascii=False)
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    asked = [{"role": "user", "content": "찾아 줘"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": [*asked, {"role": "tool", "tool_call_id": "call_1", "content": "없음"}]}


def described_tool(case: Case) -> dict[str, Any]:
    tool = {
        "type": "function",
        "function": {"name": "look", "description": case.text, "parameters": {"type": "object"}},
    }
    return user_of("찾아 줘") | {"tools": [tool]}


def user_of(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def streamed(case: Case) -> dict[str, Any]:
    return user(case) | {"stream": True}


def embedded(case: Case) -> dict[str, Any]:
    return {"input": ["안녕하세요", case.text]}


#: Where a text may stand, every how-many-th case is asked there, and whether a must-block case is refused there (in what was
#: said before it is taken out instead, so that a conversation is never stuck).
SURFACES = [
    pytest.param("/v1/chat/completions", user, 1, True, id="chat"),
    pytest.param("/v1/chat/completions", streamed, 7, True, id="stream"),
    pytest.param("/v1/chat/completions", parts, 5, True, id="parts"),
    pytest.param("/v1/chat/completions", system, 5, False, id="system"),
    pytest.param("/v1/chat/completions", history, 5, False, id="history"),
    pytest.param("/v1/chat/completions", tool_result, 5, False, id="tool result"),
    pytest.param("/v1/chat/completions", tool_argument, 5, False, id="tool argument"),
    pytest.param("/v1/chat/completions", described_tool, 5, False, id="tool description"),
    pytest.param("/v1/embeddings", embedded, 3, True, id="embeddings"),
]


def must_go(label: Label) -> bool:
    """Kinds that are only warned about do leave, with the warning."""
    return DEFAULT_TABLE[label.kind]["foreign"] != "warn"


def leaks(outcome: Outcome, texts: list[str], body: Body) -> list[str]:
    """Values that the evaluation counts as caught and that arrived all the same.

    A mark is one by where it stands, at the head of a text; inside a field of a tool's arguments it stands nowhere.
    """
    case = outcome.case
    caught = [label for label in case.labels if must_go(label) and not survives(label, outcome, "foreign")]
    if case.should == "warn":
        return []
    if body is tool_argument:
        caught = [label for label in caught if label.kind != "CLASSMARK"]
    values = [case.text[label.start : label.end] for label in caught]
    return [value for value in values if any(value in text for text in texts)]


def taken_out(outcome: Outcome) -> Outcome:
    """What becomes of a case where nothing is refused: what would block is masked, what is only warned about is left."""
    masked = tuple(f if f.action == "warn" else replace(f, action="mask") for f in outcome.findings)
    return replace(outcome, action="mask", findings=masked)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("path", "body", "every", "refuses"), SURFACES)
async def test_what_is_counted_as_caught_does_not_arrive(  # noqa: PLR0917 – the table's columns
    inside: Inside,
    upstream: tuple[Upstream, str],
    path: str,
    body: Body,
    every: int,
    refuses: bool,
) -> None:
    """On every surface: no value that the evaluation says was caught is among the bytes the upstream got, and what the
    evaluation says is blocked is refused before anything is sent."""
    judged, asked, wrong = judge(Scanner()), 0, []
    for case in CASES[::every]:
        if case.breaks and body not in (user, streamed):
            continue
        outcome = judged(case)
        upstream[0].texts = None
        answer = await inside.post(path, model="abroad", **body(case))
        asked += 1
        assert answer.status_code in (200, 400), (case.id, answer.text)
        arrived = upstream[0].texts
        if answer.status_code == 400:
            assert arrived is None, case.id
            assert answer.json()["error"]["code"] == "policy_blocked", (case.id, answer.text)
        elif leaks(outcome if refuses else taken_out(outcome), arrived or [], body) or (
            refuses and outcome.action in ("block", "route_local")
        ):
            wrong.append(case.id)
        if case.should == "allow" and answer.status_code == 400:
            wrong.append(f"{case.id} refused")
    assert not wrong, wrong
    assert asked > len(CASES) / every * 0.9


@pytest.mark.timeout(300)
async def test_the_check_says_what_the_evaluation_says(inside: Inside) -> None:
    """POST /api/policies/check gives the action and the places that the evaluation counts, for every case of the set."""
    judged, wrong = judge(Scanner()), []
    for case in CASES:
        given = {"text": case.text} if not case.breaks else user(case)
        answer: httpx.Response = await inside.post("/api/policies/check", **given)
        assert answer.status_code == 200, (case.id, answer.text)
        said, outcome = answer.json(), judged(case)
        starts = dict(zip([f"/messages/{n}/content" for n in range(9)], [0, *case.breaks], strict=False))
        found = {
            (f["kind"], f["start"] + starts.get(f["part"], 0), f["end"] + starts.get(f["part"], 0), f["action"])
            for f in said["findings"]
        }
        expected = {(f.kind, f.start, f.end, f.action) for f in outcome.findings}
        if (
            "\\u" in case.text
        ):  # a pasted JSON is read as JSON here, which is stricter than a warning about what it decodes to
            assert ACTIONS.index(said["action"]) >= ACTIONS.index(outcome.action), case.id
        elif said["action"] != outcome.action or found != expected:
            wrong.append((case.id, said["action"], outcome.action))
    assert not wrong, wrong

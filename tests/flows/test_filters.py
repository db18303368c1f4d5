"""What arrives at the upstream's socket, and what does not: every kind on every surface, every grade to every destination.

The upstream keeps the bytes it was sent. A test that says "did not leave" has looked there, not at an answer of ours.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from flows.inside import BY, Inside, opened

from gateway import tokens
from gateway.directory.directory import Directory
from gateway.directory.ids import now_us, uuid7
from gateway.providers.scripted import Script, ScriptedEngine
from gateway.providers.scripted_server import ScriptedServer, serve
from policies.detector import Match
from policies.detectors import DETECTORS
from policies.engine import Scanner
from policies.page import Page

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

#: Made up, with check digits that are right.
RRN = "850312-2345677"
PHONE = "010-9876-5432"

CHAT = "/v1/chat/completions"
EMBED = "/v1/embeddings"

#: What becomes of each kind on its way outside.
BLOCKED = {"RRN", "FRN", "PASSPORT", "DRIVER_LICENSE", "SECRET", "CLASSMARK"}
MASKED = {"PHONE", "EMAIL", "ADDRESS", "ACCOUNT", "CARD", "NHIS", "PLATE", "BIRTHDATE", "PERSON"}


class Wire:
    """The scripted upstream, and every body it was sent, by the path's first word: the account it came to."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(faults=True, pace=0)
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []

    def answer(self, path: str, body: bytes) -> Script:
        self.raw.append(body)
        self.bodies.append(json.loads(body))
        return self._engine.answer(path, body)

    def clear(self) -> None:
        self.bodies.clear()
        self.raw.clear()

    @property
    def models(self) -> list[str]:
        return [body["model"] for body in self.bodies]

    def saw(self, text: str) -> bool:
        """Whether a text arrived, spelled in any way JSON allows."""
        return any(text in one for body in self.bodies for one in tokens.strings(body))


def configuration(base_url: str, **policies: Any) -> dict[str, Any]:
    """One account and one model for each destination; `careful` falls back inside, `open` does not."""

    def account(destination: str, **more: Any) -> dict[str, Any]:
        given = {"kind": "openai_compatible", "base_url": base_url, "destination": destination, "family": "openai/chat"}
        return {**given, **more}

    def model(name: str, provider: str, grade: str, **more: Any) -> dict[str, Any]:
        place = {"provider": provider, "model": f"at-{name}", "price": "acme/model"}
        return {
            "name": name,
            "title": {"ko": name, "en": name},
            "grade": grade,
            "capabilities": ["chat", "tools", "json", "vision", "audio", "documents", "search", "embeddings"],
            "context": 100_000,
            "max_output": 200,
            "deployments": [{**place, **more.pop("place", {})}],
            **more,
        }

    return {
        "organisation": {"name": "데모시"},
        "providers": {
            "inside": account("inside"),
            "government": account("government"),
            "domestic": account("domestic"),
            "foreign": account("foreign"),
            "dead": account("foreign", base_url="http://127.0.0.1:9/v1"),
        },
        "models": [
            model("inside", "inside", "S"),
            model("plain-inside", "inside", "O"),
            model("government", "government", "S" if policies.get("government_grade") == "S" else "O"),
            model("domestic", "domestic", "O"),
            model("foreign", "foreign", "O"),
            model("careful", "foreign", "O", fallbacks=["inside"]),
            model("careless", "dead", "O", fallbacks=["domestic"]),
            model("counted", "foreign", "O", place={"tokenizer": "cl100k_base"}),
        ],
        "policies": policies,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listening() -> AsyncIterator[tuple[Wire, ScriptedServer]]:
    made = Wire()
    async with serve(made) as server:
        yield made, server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    listening: tuple[Wire, ScriptedServer], tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> AsyncIterator[Inside]:
    folder = tmp_path_factory.mktemp("filters")
    given = configuration(listening[1].base_url)
    async with opened(folder, migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        yield gateway


@pytest.fixture
def upstream(listening: tuple[Wire, ScriptedServer]) -> tuple[Wire, ScriptedServer]:
    """This module's upstream, which has seen nothing yet."""
    listening[0].clear()
    return listening


@pytest.fixture
def seen(upstream: tuple[Wire, ScriptedServer]) -> Wire:
    return upstream[0]


@pytest.fixture
def inside(shared: Inside) -> Inside:
    """This module's gateway; a caller that declares nothing."""
    shared.client.headers.pop("x-haechi-grade", None)
    return shared


def rows(inside: Inside, table: str, answer: httpx.Response) -> list[dict[str, Any]]:
    """What a table holds of one request."""
    return inside.rows(f"SELECT * FROM {table} WHERE request_id = :id", id=answer.headers["x-request-id"])


async def ask(inside: Inside, surface: str, model: str, text: str) -> httpx.Response:
    if surface == "embeddings":
        return await inside.post(EMBED, model=model, input=[text, "안녕하세요"])
    return await inside.chat(model, text, stream=surface == "stream")


pytestmark = pytest.mark.asyncio(loop_scope="module")

SURFACES = ("whole", "stream", "embeddings")


# ── every kind ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def surest() -> Iterator[tuple[str, str, str]]:
    """(kind, text, value): of each kind the example that is seen most surely."""
    scanner = Scanner()
    for detector in DETECTORS:
        module = importlib.import_module(type(detector).__module__)
        examples = [
            (text, one) for text, found in module.EXAMPLES for one in ([found] if isinstance(found, str) else found)
        ]
        scored = [
            (match.score, text, value)
            for text, value in examples
            for match in scanner.scan(text)
            if match.kind == detector.kind and text[match.start : match.end] == value
        ]
        _, text, value = max(scored, key=lambda one: one[0])
        yield detector.kind, text, value


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("kind", "text", "value"), list(surest()), ids=lambda value: value if value.isupper() else "")
async def test_every_kind_is_stopped_masked_or_told_on_every_surface(  # noqa: PLR0917 – the table's columns
    inside: Inside, seen: Wire, surface: str, kind: str, text: str, value: str
) -> None:
    answer = await ask(inside, surface, "foreign", text)
    if kind in BLOCKED:
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("policy_blocked", "invalid_request_error")
        (finding,) = [f for f in error["haechi"]["findings"] if f["kind"] == kind]
        assert text[finding["start"] : finding["end"]] == value
        assert finding["part"] == ("/input/0" if surface == "embeddings" else "/messages/0/content")
        assert value not in answer.text
        assert seen.bodies == []
        assert rows(inside, "hold", answer) == rows(inside, "usage_event", answer) == []
        assert len(rows(inside, "evidence", answer)) == 1
    elif kind in MASKED:
        assert answer.status_code == 200, answer.text
        assert len(seen.bodies) == 1
        assert not seen.saw(value)
        assert answer.headers["x-haechi-policy"] == "masked"
        assert f"{kind}=1" in answer.headers["x-haechi-policy-findings"]
    else:
        assert answer.status_code == 200, answer.text
        assert seen.saw(value)
        # A subject is only sensitive where a person is near, whose name is masked.
        assert answer.headers["x-haechi-policy"] == ("masked" if kind == "KEYWORD" else "warned")


@pytest.mark.parametrize("surface", SURFACES)
async def test_clean_text_leaves_byte_for_byte(inside: Inside, seen: Wire, surface: str) -> None:
    text = "주간 업무 보고서의 목차를 써 주세요. 회의는 2026-11-24 14:00, 예산은 1,250,000원입니다. \u200b😀"
    answer = await ask(inside, surface, "foreign", text)
    assert answer.status_code == 200, answer.text
    assert seen.saw(text)
    assert not [name for name in answer.headers if name.startswith("x-haechi-policy")]
    assert rows(inside, "evidence", answer) == []


# ── every grade, every destination ──────────────────────────────────────────────────────────────────────────────────────

#: A text that says its own grade, in the header a document carries.
MARKED = {"O": "보고서 목차를 써 주세요", "S": "보안등급: 민감(S)\n\n내부 검토 자료", "C": "대외비\n\n조직개편 계획"}

# Grade of the text × the model asked for → the accounts it may arrive at, or None where it leaves for nowhere. `careful` is
# foreign and falls back inside; `careless` cannot be reached and falls back to a domestic place.
GRADES_AND_PLACES = [
    ("O", "inside", ["at-inside"]),
    ("O", "plain-inside", ["at-plain-inside"]),
    ("O", "government", ["at-government"]),
    ("O", "domestic", ["at-domestic"]),
    ("O", "foreign", ["at-foreign"]),
    ("O", "careful", ["at-careful"]),
    ("O", "careless", ["at-domestic"]),
    ("S", "inside", ["at-inside"]),
    ("S", "plain-inside", None),
    ("S", "government", None),
    ("S", "domestic", None),
    ("S", "foreign", None),
    ("S", "careful", ["at-inside"]),
    ("S", "careless", None),
    *[("C", model, None) for model in ("inside", "plain-inside", "government", "domestic", "foreign", "careful")],
]


@pytest.mark.parametrize("said", ["declared", "found"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("grade", "model", "arrives"), GRADES_AND_PLACES)
async def test_where_each_grade_arrives(  # noqa: PLR0917 – the table's columns
    inside: Inside, seen: Wire, said: str, surface: str, grade: str, model: str, arrives: list[str] | None
) -> None:
    """The stricter of what is declared and what is found decides, for fallbacks as well."""
    text = MARKED[grade] if said == "found" else MARKED["O"]
    inside.client.headers["x-haechi-grade"] = grade if said == "declared" else "O"
    answer = await ask(inside, surface, model, text)
    assert seen.models == (arrives or [])
    if arrives is None:
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "policy_blocked"), answer.text
        alternatives = answer.json()["error"]["haechi"]["alternatives"]
        assert alternatives == (["inside"] if grade == "S" else [])
    else:
        assert answer.status_code == 200, answer.text
    records = rows(inside, "evidence", answer)
    # Declared and sent where it may go, with nothing found in it: there was nothing to decide.
    plain = grade == "O" or (arrives == [f"at-{model}"] and said == "declared")
    assert len(records) == (0 if plain else 1)
    assert {record["grade"] for record in records} <= {grade}


async def test_a_government_place_takes_s_where_the_organisation_allows_it(
    upstream: tuple[Wire, ScriptedServer], tmp_path: Path, migrated_sqlite: Path
) -> None:
    given = configuration(upstream[1].base_url, government_grade="S")
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as gateway:
        gateway.client.headers["x-haechi-grade"] = "S"
        assert (await gateway.chat("government", "내부 검토 자료")).status_code == 200
        assert (await gateway.chat("domestic", "내부 검토 자료")).status_code == 400
    assert upstream[0].models == ["at-government"]


# What each default says, and whether an unmarked text with no declared grade may go abroad.
@pytest.mark.parametrize(("department", "leaves"), [(None, True), ("O", True), ("S", False), ("C", False)])
async def test_a_departments_default_counts_where_nothing_is_declared(
    inside: Inside, seen: Wire, department: Any, leaves: bool
) -> None:
    directory = Directory(inside.app.engine, b"", now_us, uuid7)
    directory.set_department_grade("CITY", department, by=BY)
    inside.app.authenticator.invalidate()
    answer = await inside.chat("foreign", "보고서 목차")
    directory.set_department_grade("CITY", None, by=BY)
    inside.app.authenticator.invalidate()
    assert (answer.status_code == 200, bool(seen.bodies)) == (leaves, leaves)


async def test_what_the_asked_model_may_not_have_at_all_is_not_sent_elsewhere_instead(
    inside: Inside, seen: Wire
) -> None:
    answer = await inside.chat("careful", f"주민등록번호 {RRN}")
    assert (answer.status_code, answer.json()["error"]["haechi"]["alternatives"]) == (400, ["inside", "plain-inside"])
    assert seen.bodies == []


async def test_inside_personal_data_is_only_recorded(inside: Inside, seen: Wire) -> None:
    answer = await inside.chat("inside", f"주민등록번호 {RRN}, 연락처 {PHONE}")
    assert answer.status_code == 200
    assert seen.saw(RRN)
    assert "x-haechi-policy" not in answer.headers
    (record,) = rows(inside, "evidence", answer)
    assert (record["action"], record["destination"], record["request_id"]) == (
        "allow",
        "inside",
        answer.headers["x-request-id"],
    )


# ── a conversation ──────────────────────────────────────────────────────────────────────────────────────────────────────


def said(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

# Earlier turns nobody can take back, and what of them may not arrive; the rest does.
HISTORY = [
    pytest.param([("user", f"제 주민번호는 {RRN}"), ("assistant", "네")], RRN, id="an identifier"),
    pytest.param([("user", "안녕"), ("assistant", f"고객님 번호 {RRN} 확인")], RRN, id="in an answer"),
    pytest.param([("user", "비밀번호: Tr0ub4dor&3x"), ("assistant", "네")], "Tr0ub4dor", id="a password"),
    pytest.param([("user", "대외비\n\n조직개편 계획 전문"), ("assistant", "네")], "조직개편", id="a marked document"),
    pytest.param(
        [("user", [text_part("보안등급: 민감(S)"), text_part("국장 검토 의견")]), ("assistant", "네")],
        "국장",
        id="a marked document in parts",
    ),
    pytest.param([("user", [{"type": "text", "text": "보이나요"}, PIXEL]), ("assistant", "네")], "iVBORw0KGgo=", id="an image"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("earlier", "gone"), HISTORY)
async def test_what_was_said_before_is_taken_out_and_the_conversation_goes_on(
    inside: Inside, seen: Wire, earlier: list[tuple[str, Any]], gone: str, stream: bool
) -> None:
    messages = said(*earlier, ("user", "그럼 요약해 주세요"))
    answer = await inside.post(CHAT, model="foreign", messages=messages, stream=stream)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-haechi-policy"] == "masked"
    assert not seen.saw(gone)
    assert seen.saw("그럼 요약해 주세요")
    (sent,) = seen.bodies
    assert [message["role"] for message in sent["messages"]] == [message["role"] for message in messages]


async def test_the_same_in_the_newest_turn_is_stopped(inside: Inside, seen: Wire) -> None:
    for case in HISTORY:
        turns = case.values[0]
        text = next(content for _, content in turns if content not in ("안녕", "네"))
        answer = await inside.post(CHAT, model="foreign", messages=said(("user", text)))
        assert answer.status_code == 400, case.id
    assert seen.bodies == []


# A number in pieces: over two messages, over two parts of one, and over two texts of a batch.
@pytest.mark.parametrize(
    "messages",
    [
        said(("user", "주민번호 앞자리는 850312-"), ("assistant", "뒷자리는요?"), ("user", "2345677 입니다")),
        said(("user", "주민번호 850312-"), ("user", "2345677 조회")),
        said(("user", [{"type": "text", "text": "주민번호 850312-"}, {"type": "text", "text": "2345677 조회"}])),
    ],
    ids=["two turns", "two messages", "two parts"],
)
async def test_a_value_in_pieces_does_not_arrive(inside: Inside, seen: Wire, messages: list[dict[str, Any]]) -> None:
    answer = await inside.post(CHAT, model="foreign", messages=messages)
    assert answer.status_code == 400, answer.text
    assert seen.bodies == []


# ── places a list of fields forgets ─────────────────────────────────────────────────────────────────────────────────────

SCHEMA = {"name": "a", "schema": {"const": f"주민번호 {RRN}"}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def called(arguments: str) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    return [
        {"role": "user", "content": "찾아 줘"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "없음"},
    ]


ELSEWHERE = [
    pytest.param({"messages": said(("system", f"담당자 주민번호 {RRN}"), ("user", "안녕"))}, id="instructions"),
    pytest.param({"messages": called(json.dumps({"주민번호": RRN}))}, id="arguments in ASCII"),
    pytest.param({"messages": called(json.dumps({"주민번호": RRN}, ensure_ascii=False))}, id="arguments"),
    pytest.param(
        {"messages": [*called("{}")[:2], {"role": "tool", "tool_call_id": "call_1", "content": f"주민번호 {RRN}"}]},
        id="a tool's result",
    ),
    pytest.param({"messages": [{"role": "user", "content": "안녕", "name": f"김_{RRN}"}]}, id="a name"),
    pytest.param({"tools": [{**TOOL, "function": {**TOOL["function"], "description": f"예: 주민번호 {RRN}"}}]}, id="a tool"),  # type: ignore[dict-item]
    pytest.param({"stop": [f"주민번호 {RRN}"]}, id="a stop sequence"),
    pytest.param({"prediction": {"type": "content", "content": f"주민번호 {RRN}"}}, id="a prediction"),
    pytest.param({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, id="a format"),
    pytest.param({"guided_json": {"properties": {"주민등록번호": {"enum": [8503122345677]}}}}, id="a number"),
    pytest.param({"guided_json": {"properties": {f"주민번호 {RRN}": {}}}}, id="a name of a field"),
    pytest.param({"chat_template_kwargs": {"note": {"deep": [[f"주민번호 {RRN}"]]}}}, id="deep in a vendor's field"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", ELSEWHERE)
async def test_it_does_not_leave_in_any_other_place_either(
    inside: Inside, seen: Wire, more: dict[str, Any], stream: bool
) -> None:
    body = {"model": "foreign", "messages": said(("user", "안녕")), "stream": stream, **more}
    answer = await inside.post(CHAT, **body)
    assert (answer.status_code, seen.bodies) == (400, []), answer.text
    assert RRN not in answer.text
    assert "8503122345677" not in answer.text


async def test_what_is_kept_back_is_kept_back(inside: Inside, seen: Wire) -> None:
    """Who the caller is does not leave, whatever stands there."""
    body = {"messages": said(("user", "안녕")), "user": RRN, "metadata": {"a": RRN}, "safety_identifier": RRN}
    answer = await inside.post(CHAT, model="foreign", **body)
    assert answer.status_code == 200, answer.text
    assert not seen.saw(RRN)


# What nobody here can read, and where it may go.
@pytest.mark.parametrize(
    ("model", "leaves"), [("foreign", False), ("domestic", False), ("careful", True), ("inside", True)]
)
@pytest.mark.parametrize(
    "part",
    [
        PIXEL,
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "text", "text": "data:image/png;base64,iVBORw0KGgo="},
    ],
    ids=["image", "audio", "a data URL as text"],
)  # fmt: skip
async def test_what_nobody_can_read_stays_inside(
    inside: Inside, seen: Wire, model: str, leaves: bool, part: dict[str, Any]
) -> None:
    content = [{"type": "text", "text": "무엇이 보이나요"}, part]
    answer = await inside.post(CHAT, model=model, messages=said(("user", content)))
    assert (answer.status_code == 200) == leaves, answer.text
    assert seen.models == ([f"at-{'inside' if model == 'careful' else model}"] if leaves else [])
    if not leaves:
        (finding,) = answer.json()["error"]["haechi"]["findings"]
        assert (finding["kind"], finding["action"]) == ("UNREADABLE", "route_local")


# ── what cannot be read does not leave ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Brought:
    """A site's own detector: it breaks, or takes as long as it is told, on texts with its word in them."""

    seconds: float | None
    name: str = "brought"
    kind: str = "PERSON"
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shapes: Sequence[tuple[int, ...]] = ()

    def detect(self, page: Page, /) -> Iterator[Match]:
        at = page.text.find("해치씨")
        if at >= 0 and self.seconds is None:
            raise RuntimeError("the server of the detector is away")
        if at >= 0:
            time.sleep(self.seconds or 0)
            yield Match("PERSON", at, at + 3, 0.7, "brought")


# How a detector fails, what `on_error` says, and whether an inside model and one abroad still get the text.
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("seconds", [None, 1.5], ids=["it breaks", "it hangs"])
@pytest.mark.parametrize(("on_error", "near"), [("block", False), ("route_local", True)])
async def test_a_detector_that_fails_lets_nothing_out(  # noqa: PLR0917 – the table's columns
    upstream: tuple[Wire, ScriptedServer],
    tmp_path: Path,
    migrated_sqlite: Path,
    surface: str,
    seconds: float | None,
    on_error: str,
    near: bool,
) -> None:
    given = configuration(upstream[1].base_url, on_error=on_error, seconds=0.2)
    prices = {"acme.yaml": PRICES}
    brought = [Brought(seconds)]
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices=prices, detectors=brought) as gateway:
        abroad = await ask(gateway, surface, "foreign", "해치씨에게 보내는 글")
        assert (abroad.status_code, abroad.json()["error"]["code"]) == (400, "policy_blocked")
        assert upstream[0].bodies == []
        inside = await ask(gateway, surface, "inside", "해치씨에게 보내는 글")
        assert (inside.status_code == 200) == near
        assert (await ask(gateway, surface, "foreign", "다른 글")).status_code == 200
        assert {row["rule"] for row in gateway.rows("SELECT * FROM evidence")} >= {"filters:error"}


async def test_a_sites_own_detector_is_heard(
    upstream: tuple[Wire, ScriptedServer], tmp_path: Path, migrated_sqlite: Path
) -> None:
    given = configuration(upstream[1].base_url)
    prices = {"acme.yaml": PRICES}
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices=prices, detectors=[Brought(0)]) as gateway:
        answer = await gateway.chat("foreign", "해치씨에게 보내는 글")
        assert answer.headers["x-haechi-policy-findings"] == "PERSON=1"
        assert not upstream[0].saw("해치씨")


async def test_without_a_record_nothing_leaves(inside: Inside, seen: Wire) -> None:
    """What was found has to be on record first; a clean request needs no record."""
    with inside.app.engine.begin() as connection:
        refuse = "CREATE TRIGGER away BEFORE INSERT ON evidence BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        connection.execute(sa.text(refuse))
    try:
        answer = await inside.chat("foreign", f"연락처 {PHONE}")
        assert answer.status_code >= 500
        assert seen.bodies == []
        assert (await inside.chat("foreign", "보고서 목차")).status_code == 200
    finally:
        with inside.app.engine.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER away"))


async def test_a_large_text_is_read_to_its_end(inside: Inside, seen: Wire) -> None:
    filler = "보고서의 다음 문단입니다. " * 12_000
    answer = await inside.chat("foreign", f"{filler}주민번호 {RRN}")
    assert (answer.status_code, seen.bodies) == (400, [])
    (finding,) = answer.json()["error"]["haechi"]["findings"]
    assert finding["start"] == len(filler) + len("주민번호 ")
    assert (await inside.chat("foreign", filler)).status_code == 200


async def test_a_site_may_have_nothing_read_and_the_declared_grade_still_decides(
    upstream: tuple[Wire, ScriptedServer], seen: Wire, tmp_path: Path, migrated_sqlite: Path
) -> None:
    """With `pack: none` a number that would be stopped arrives as it was written; what is declared S still does not leave."""
    given = configuration(upstream[1].base_url, pack="none")
    async with opened(tmp_path / "gateway", migrated_sqlite, given, prices={"acme.yaml": PRICES}) as inside:
        assert (await inside.chat("foreign", f"주민등록번호 {RRN}")).status_code == 200
        assert seen.saw(RRN)
        seen.clear()
        inside.client.headers["x-haechi-grade"] = "S"
        assert (await inside.chat("foreign", "안녕하십니까")).status_code == 400
        assert seen.bodies == []

"""A site's own detector beside ours: how it is named, and the worked example of docs/filters against a server that answers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from urllib.error import HTTPError, URLError

import pytest

from policies import site
from policies.detectors import DETECTORS
from policies.engine import Scanner
from policies.evaluate import Case, Label, judge, score

EXAMPLE = Path(__file__).parents[2] / "docs" / "filters" / "examples" / "ner_server.py"

#: What the stand-in server knows: a name that nothing around it gives away, and a label that ours do not know.
KNOWN = {"을지문덕": "PS", "단양": "DT"}


class Entities(BaseHTTPRequestHandler):
    """Answers as a named-entity server does; to a text about 고장 with an error."""

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        found = [
            {"label": label, "start": text.index(word), "end": text.index(word) + len(word), "score": 0.97}
            for word, label in KNOWN.items()
            if word in text
        ]
        body = json.dumps(found).encode()
        self.send_response(500 if "고장" in text else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Entities)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/entities"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as an operator would have it: a module that can be imported by name."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    monkeypatch.delitem(sys.modules, "ner_server", raising=False)
    return importlib.import_module("ner_server")


TEXT = "보고서의 두 번째 문단은 어제 단양에 다녀온 을지문덕 앞으로 보낸다"


def test_the_example_finds_what_ours_do_not(url: str, example: ModuleType) -> None:
    """The server's name becomes a PERSON that is masked, at its place; its other label is ignored."""
    scanner = Scanner(detectors=(*DETECTORS, example.NerServer(url)))
    (match,) = scanner.scan(TEXT)
    assert (match.kind, TEXT[match.start : match.end], match.rule) == ("PERSON", "을지문덕", "ner-server-1:PS")
    start = TEXT.index("을지문덕")
    case = Case("a", TEXT, (Label(start, start + 4, "PERSON"),), "mask")
    assert judge(scanner)(case).action == "mask"
    assert score([judge(scanner)(case)]).left_in_clear.part == 0
    assert score([judge(Scanner())(case)]).left_in_clear.part == 1


def test_offsets_lead_back_through_normalisation(url: str, example: ModuleType) -> None:
    """The server reads the normalised text; what it found stands at its place in the original one."""
    text = "\u200b제\u200b목\u200b: " + "을\u200b지문덕 귀하"
    (match,) = [m for m in Scanner(detectors=(example.NerServer(url),)).scan(text) if m.kind == "PERSON"]
    assert text[match.start : match.end] == "을\u200b지문덕"


def test_long_texts_are_asked_about_in_pieces(url: str, example: ModuleType) -> None:
    """Offsets are those of the whole text, also behind the first twenty thousand characters."""
    text = "가" * 30_000 + " 을지문덕"
    (match,) = Scanner(detectors=(example.NerServer(url),)).scan(text)
    assert text[match.start : match.end] == "을지문덕"


def test_a_server_that_fails_lets_nothing_pass(url: str, example: ModuleType) -> None:
    """An error of the server, and a server that is not there, reach whoever asked: nothing is taken for clean."""
    with pytest.raises(HTTPError, match="500"):
        Scanner(detectors=(example.NerServer(url),)).scan("고장 난 서버")
    with pytest.raises(URLError, match="refused"):
        Scanner(detectors=(example.NerServer("http://127.0.0.1:9/"),)).scan("아무 글")


def test_a_detector_is_named_by_module_and_name(example: ModuleType) -> None:
    assert site.detectors(["ner_server:detector"]) == (example.detector,)
    assert site.detectors([]) == ()


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["ner_server"], "not module:name"),
        ([":detector"], "not module:name"),
        (["no_such_module_here:detector"], "cannot be imported"),
        (["ner_server:nothing"], "lacks name, kind"),
        (["ner_server:LABELS"], "lacks name"),
        (["ner_server:detector", "ner_server:detector"], "name taken"),
        (["policies.detectors.rrn:detector"], "name taken"),
    ],
)
def test_what_is_no_detector_is_refused_with_a_remedy(entries: list[str], said: str) -> None:
    with pytest.raises(site.DetectorRefused, match=said) as caught:
        site.detectors(entries)
    assert "→" in str(caught.value)

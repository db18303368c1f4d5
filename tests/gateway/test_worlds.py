"""A world is made only of what can be priced, converted and called; a start that cannot make one names the line at fault."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.imports import ImportRefused
from gateway.__main__ import main
from gateway.app import build_app
from gateway.directory.ids import to_us
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def test_a_dollar_price_needs_a_dollar_rate(sqlite_url: str, tmp_path: Path) -> None:
    """On a day before the first rate that is known, an answer could be priced and not be booked in won."""
    settings = load_settings(ROOT / "config.yaml", tmp_path, {"HAECHI_DATABASE_URL": sqlite_url})
    before = to_us(datetime(2024, 12, 1, tzinfo=UTC))
    with pytest.raises(ImportRefused, match=r"no USD/KRW rate for 2024-12-01: import one with `haechi fx import FILE`"):
        build_app(settings, clock=lambda: before)


BAD_PRICE = """\
provider: acme
currency: USD
valid_from: 2026-01-01
source: contract 7/2026
confirmed: true
prices:
  - key: acme/model
    per_million: {input: "-1"}
"""


@pytest.mark.parametrize(
    ("config", "price", "says"),
    [
        (lambda text: text, BAD_PRICE, ["bad.yaml:8:", "negative", "0 or more"]),
        (
            lambda text: text.replace("kind: scripted", "kind: telepathy", 1),
            None,
            ["config.yaml:", "providers.practice", "unknown kind 'telepathy'", "correct this block"],
        ),
        (
            lambda text: text.replace("family: mistral/chat", "family: mistrl/chat", 1),
            None,
            ["config.yaml:", "providers.mistral.family", "reads usage of 'mistrl/chat'", "use mistral/chat"],
        ),
        (
            lambda text: text.replace("tokenizer: o200k_base", "tokenizer: o200k", 1),
            None,
            ["config.yaml:", ".deployments[0].tokenizer", "no tokenizer is called 'o200k'", "cl100k_base"],
        ),
        (
            lambda text: text.replace("kind: cohere", "kind: litellm", 1),
            None,
            ["config.yaml:", ".deployments[0].model", "not let near 'command-a-03-2025'", "write vendor/model"],
        ),
        (
            lambda text: text.replace("kind: cohere", "kind: litellm", 1).replace(
                "model: command-a", "model: ollama/command-a"
            ),
            None,
            ["config.yaml:", ".deployments[0].model", "not let near 'ollama'", "a kind of its own: openai_compatible"],
        ),
        (
            lambda text: text.replace("capabilities: [chat, search]", "capabilities: [chat, embeddings]").replace(
                "family: perplexity/responses", "family: anthropic/messages"
            ),
            None,
            ["config.yaml:", ".deployments[0].provider", "embeddings by 'anthropic'", "take `embeddings` out"],
        ),
        (
            lambda text: text.replace("detectors: []", "detectors: ['no_such_module:detector']", 1),
            None,
            ["config.yaml:", "policies.detectors", "no_such_module:detector", "cannot be imported", "PYTHONPATH"],
        ),
    ],
    ids=[
        "price file",
        "kind",
        "family",
        "tokenizer",
        "no vendor",
        "a vendor past our transport",
        "embeddings",
        "detector",
    ],
)
def test_a_start_that_cannot_be_says_why_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: object, price: str | None, says: list[str]
) -> None:
    assert callable(config)
    path = tmp_path / "config.yaml"
    path.write_text(config((ROOT / "config.yaml").read_text("utf-8")), "utf-8")
    (tmp_path / "prices").mkdir()
    if price is not None:
        (tmp_path / "prices" / "bad.yaml").write_text(price)
    env = {"HAECHI_PRICES": str(tmp_path / "prices")}
    assert main(["serve", "--config", str(path), "--data", str(tmp_path / "data"), "--port", "0"], env) == 1
    told = capsys.readouterr().err
    assert all(words in told for words in says), told
    assert "Traceback" not in told

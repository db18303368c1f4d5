"""The official OpenAI SDK judges us over a real socket: first with its own tests, then as somebody would use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent

SUITE = "tests/api_resources/chat/test_completions.py"
#: The SDK's tests of creating chat completions that we do not pass, each with the reason.
DESELECTED: dict[str, str] = {}
#: How many there are in the pinned version: fewer would mean that a rename made the selection empty.
THERE_ARE = 40


def clean_environment(**more: str) -> dict[str, str]:
    """Ours without what a developer may have set for the SDK or for pytest."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "PYTEST_", "HAECHI_", "TEST_API_"))}
    return kept | more


def judge(
    running: Any, source: Path, python: Path, *arguments: str, only: str = "create"
) -> tuple[dict[str, int], str]:
    """Run the SDK's own tests against the gateway: how many passed, failed …, and everything that was printed."""
    ran = subprocess.run(
        [python, "-m", "pytest", *arguments, "-k", only, "-o", "addopts=", "-q", "-p", "no:cacheprovider"],
        cwd=source,
        env=clean_environment(TEST_API_BASE_URL=f"{running.base_url}/v1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    said = ran.stdout + ran.stderr
    summary = ran.stdout.strip().rpartition("\n")[2]
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)}, said


def test_its_own_tests_of_chat_completions_pass(running: Any, sdk_source: Path, sdk_python: Path) -> None:
    """They check every answer field by field against the SDK's own types: synchronous, asynchronous, with every parameter."""
    left_out = [f"--deselect={SUITE}::{name}" for name in DESELECTED]
    counts, said = judge(running, sdk_source, sdk_python, SUITE, *left_out)
    assert set(counts) == {"passed"}, said[-8000:]
    if DESELECTED:
        refused, said = judge(running, sdk_source, sdk_python, *(f"{SUITE}::{name}" for name in DESELECTED))
        assert set(refused) == {"failed"}, f"they pass now: take them off the list\n{said[-8000:]}"
        counts["passed"] += refused["failed"]
    assert counts["passed"] >= THERE_ARE


@pytest.mark.parametrize(
    ("suite", "only", "there_are"),
    [
        # Unasked, the SDK asks for base64, and where it validates strictly it does so before it decodes: only an upstream that
        # ignores what was asked passes these. With the format named, and where it is lenient, all of them run.
        ("test_embeddings.py", "create and (with_all_params or loose)", 11),
        # What may be used is decided here and not by whoever uses it: nothing can be deleted.
        ("test_models.py", "not delete", 14),
    ],
)
def test_its_own_tests_of_embeddings_and_models_pass(
    *, running: Any, sdk_source: Path, sdk_python: Path, suite: str, only: str, there_are: int
) -> None:
    counts, said = judge(running, sdk_source, sdk_python, f"tests/api_resources/{suite}", only=only)
    assert set(counts) <= {"passed"}, said[-8000:]
    assert counts["passed"] >= there_are, said[-2000:]


@pytest.fixture(scope="module")
def told(running: Any, sdk_python: Path) -> dict[str, Any]:
    """What tests/judges/sdk_script.py saw, in the SDK's own environment."""
    ran = subprocess.run(
        [sdk_python, HERE / "sdk_script.py", f"{running.base_url}/v1", running.api_key, running.broke_key],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}{ran.stderr[-4000:]}"
    seen: dict[str, Any] = json.loads(ran.stdout)
    return seen


def test_the_newest_major_was_used(told: dict[str, Any]) -> None:
    assert told["version"].startswith("3.")


def test_a_whole_answer(told: dict[str, Any]) -> None:
    whole = told["whole"]
    assert whole["text"]
    assert whole["finish_reason"] == "stop"
    assert whole["total_tokens"] == whole["prompt_tokens"] + whole["completion_tokens"] > 0
    assert float(whole["cost_krw_header"]) > 0
    assert whole["request_id"]


def test_a_stream_says_the_same_as_a_whole_answer(told: dict[str, Any]) -> None:
    stream = told["stream"]
    assert stream["text"] == told["whole"]["text"]
    assert stream["chunks"] > 3
    assert stream["roles"] == ["assistant"]
    assert stream["usage"] == {k: told["whole"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert float(stream["cost_krw"]) == float(told["whole"]["cost_krw_header"])


def test_a_stream_without_usage_carries_none(told: dict[str, Any]) -> None:
    assert told["stream_without_usage"] == {"usage_frames": 0, "empty_choice_frames": 0}


def test_the_sdks_own_accumulator_accepts_our_event_order(told: dict[str, Any]) -> None:
    assert told["accumulated"]["text"] == told["whole"]["text"]


def test_a_tool_is_called_and_its_result_understood(told: dict[str, Any]) -> None:
    call = told["tool"]
    assert call["finish_reason"] == "tool_calls"
    assert call["name"] == "budget_left"
    assert isinstance(json.loads(call["arguments"]), dict)
    assert call["after_result"] == "stop"
    assert call["streamed_name"] == "budget_left"
    assert isinstance(json.loads(call["streamed_arguments"]), dict)


@pytest.mark.parametrize(
    ("case", "raised", "status", "code"),
    [
        ("no_such_key", "AuthenticationError", 401, "invalid_api_key"),
        ("no_such_model", "NotFoundError", 404, "model_not_found"),
        ("bad_parameter", "BadRequestError", 400, None),
        ("unknown_parameter", "BadRequestError", 400, None),
        ("blocked_by_policy", "BadRequestError", 400, "policy_blocked"),
        ("out_of_budget", "RateLimitError", 429, "insufficient_quota"),
        ("upstream_failed", "InternalServerError", 502, "upstream_failed"),
        ("upstream_rate_limited", "RateLimitError", 429, None),
    ],
)
def test_a_refusal_raises_the_class_a_program_waits_for(
    told: dict[str, Any], case: str, raised: str, status: int, code: str | None
) -> None:
    seen = told["errors"][case]
    assert (seen["raised"], seen["status"]) == (raised, status), seen
    if code is not None:
        assert seen["code"] == code
    assert seen["request_id"]


def test_an_empty_budget_is_not_asked_again(told: dict[str, Any]) -> None:
    """The SDK retries 429 by itself; a budget does not fill up in two seconds, and the answer says so."""
    assert told["errors"]["out_of_budget"]["requests"] == 1
    assert told["errors"]["out_of_budget"]["haechi"]["limit_krw"] is not None


def test_a_broken_stream_is_an_error_not_an_end(told: dict[str, Any]) -> None:
    """After the first byte there is no status left: the stream itself has to say it, and the SDK has to raise."""
    assert told["cut_stream"]["raised"] == "APIError"
    assert told["cut_stream"]["text"]


def test_many_at_once_are_all_answered(told: dict[str, Any]) -> None:
    assert told["parallel"] == {"asked": 16, "answered": 16}


def test_a_listed_model_can_be_fetched(told: dict[str, Any]) -> None:
    assert "practice-inside" in told["models"]["listed"]
    assert told["models"]["fetched"] == "practice-inside"

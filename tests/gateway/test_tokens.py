"""Our own counting: exact where a tokeniser is shipped, never without an answer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import tokens


def test_the_shipped_encodings_need_no_network() -> None:
    assert tokens.count("안녕하세요, 서울시", "o200k_base") == 5
    assert tokens.count("hello world", "o200k_base") == 2
    assert tokens.count("hello world", "cl100k_base") == 2


@pytest.mark.parametrize(
    ("name", "exact"), [("practice", True), ("o200k_base", True), ("nobody-knows", False), (None, False)]
)
def test_only_a_shipped_tokeniser_is_exact(name: str | None, exact: bool) -> None:
    assert tokens.is_exact(name) is exact


def test_without_an_encoding_four_bytes_are_a_token() -> None:
    assert tokens.count("가나다라", "nobody-knows") == 3


@given(st.text(max_size=200))
def test_bytes_bound_the_tokens_of_any_text(text: str) -> None:
    for name in ("practice", "o200k_base"):
        assert tokens.count(text, name) <= len(text.encode("utf-8", "surrogatepass"))


def test_every_string_of_a_request_is_counted() -> None:
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "tools": [{"function": {"name": "f"}}],
    }
    assert {"messages", "role", "user", "content", "type", "text", "x", "tools", "function", "name", "f"} == set(
        tokens.strings(body)
    )


async def test_counting_leaves_the_loop_to_others() -> None:
    """Another task runs while a long text is being counted, on a thread that is not the loop's."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    counted = await tokens.count_in_thread(["예산 집행 현황을 보고합니다. " * 20_000], "o200k_base")
    task.cancel()
    assert counted > 100_000
    assert turns > 1

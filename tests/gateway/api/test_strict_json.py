"""One reading of the bytes, or a refusal."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.api import strict_json
from gateway.errors import BadRequest

REFUSED = [
    pytest.param(b"", "invalid_json", id="nothing"),
    pytest.param(b"[1]", "invalid_json", id="not an object"),
    pytest.param(b'{"a":1', "invalid_json", id="cut short"),
    pytest.param(b'{"a":NaN}', "invalid_json", id="NaN"),
    pytest.param(b'{"a":Infinity}', "invalid_json", id="Infinity"),
    pytest.param(b'{"a":"\\ud800"}', "invalid_json", id="half a surrogate pair"),
    pytest.param(b'{"a":"\xff"}', "invalid_json", id="not UTF-8"),
    pytest.param(b'{"a":1}{"b":2}', "invalid_json", id="two documents"),
    pytest.param(b'{"a":1,"a":2}', "duplicate_key", id="twice"),
    pytest.param(b'{"a" :1,"a":2}', "duplicate_key", id="twice, spaced"),
    pytest.param(b'{"a"\n\t :1,"a":2}', "duplicate_key", id="twice, over lines"),
    pytest.param(b'{"a\\\\":1,"b":1,"b":2}', "duplicate_key", id="twice beside a key that ends in a backslash"),
    pytest.param(b'{"a":1,"\\u0061":2}', "duplicate_key", id="twice, one escaped"),
    pytest.param(b'{"x":{"y":[{"k":1,"k":1}]}}', "duplicate_key", id="twice, deep"),
    pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "invalid_json", id="65 levels"),
    pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", id="100,000 levels"),
]


@pytest.mark.parametrize(("raw", "code"), REFUSED)
def test_refused(raw: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        strict_json.loads(raw, 64)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"제목 : 내용"}',
        '{"a":"\\":\\":"}',
        '{"a":"say \\"key\\" : 1"}',
        '{"a\\"":1}',
        '{"a":{"a":1}}',
        '{"a":"\\\\"}',
        "{}",
    ],
)
def test_ordinary_text_is_read(text: str) -> None:
    assert strict_json.loads(text.encode(), 64) == json.loads(text)


keys = st.one_of(st.sampled_from(["a", "b", 'a"', "a\\", "a:", '":', "\\"]), st.text(max_size=4))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=4), st.sampled_from([None, 1]), st.booleans())
@example({'":': {"\\": '":'}}, None, True)
def test_whatever_json_writes_without_duplicates_is_read_back(
    value: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    try:
        raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate has no UTF-8
    if b"\\ud" in raw:
        return  # written as half a surrogate pair, which is refused: see above
    assert strict_json.loads(raw, 64) == value


@given(st.lists(st.tuples(keys, st.integers(0, 9)), min_size=2, max_size=5), st.sampled_from([":", " :", ": ", "\n:"]))
def test_a_repeated_key_is_always_found(pairs: list[tuple[str, int]], colon: str) -> None:
    doubled = [*pairs, (pairs[0][0], 9)]
    raw = "{" + ",".join(f"{json.dumps(key)}{colon}{value}" for key, value in doubled) + "}"
    with pytest.raises(BadRequest):
        strict_json.loads(raw.encode(), 64)

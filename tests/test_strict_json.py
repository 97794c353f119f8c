"""JSON that means one thing only is read, everything else refused; a value has one hash."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.strict_json import digest, parse, read_object

patient = settings(deadline=None)  # a shared machine may pause at any time

numbers = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.text() | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@patient
@given(values)
def test_what_json_writes_is_read_back_equal_and_has_the_same_hash(value: Any) -> None:
    again = parse(json.dumps(value))
    assert again == value
    assert digest(again) == digest(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is no number of JSON's"),
        ("[Infinity]", "Infinity is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "1e999 is too large"),
        (f"[{2**63}]", "is too large"),
        (f"[-{'9' * 6000}]", "is too large"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' stands twice"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ', "Expecting value"),
        ("{} {}", "Extra data"),
        ("{'a': 1}", "Expecting property name"),
    ],
)
def test_what_readers_understand_differently_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_numbers_up_to_the_largest_are_read() -> None:
    assert parse(f"[{2**63 - 1}, {-(2**63) + 1}, 1.7e308, 0]") == [2**63 - 1, -(2**63) + 1, 1.7e308, 0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "result .*a.json: no such file; expected one of ours"),
        (b"", "the file is empty; expected one of ours"),
        (b" \n", "the file is empty"),
        (b"\xff\xfe\x00", "not whole JSON"),
        (b'{"a": NaN}', "not whole JSON .NaN is no number"),
        (b"[]", "a JSON list; expected an object"),
        (b"null", "a JSON NoneType; expected an object"),
    ],
)
def test_a_file_that_holds_no_object_is_refused(raw: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(BadInputError, match=message):
        read_object(path, what="result", expected="one of ours")


def test_the_hash_does_not_ask_for_order_or_tuples_and_is_the_documented_one() -> None:
    assert digest({"b": (1, 2), "a": "é"}) == digest({"a": "é", "b": [1, 2]})
    # printf '{"a":1}' | sha256sum
    assert digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest([float("nan")])

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.reports.page.embedded import MOST_PLAIN_BYTES, embedded

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf")))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


def content(element: str) -> object:
    found = re.fullmatch(r'<script type="([\w/]+)" id="name">(.*)</script>', element, re.DOTALL)
    assert found
    text = found[2]
    if found[1] == "application/gzip":
        text = gzip.decompress(base64.b64decode(text)).decode()
    return json.loads(text)


@given(VALUES)
def test_what_goes_in_comes_out_and_ends_no_element(value: object) -> None:
    element = str(embedded("name", value))
    assert content(element) == value
    assert "<" not in element.removeprefix("<script").removesuffix("</script>")


def test_much_is_packed_and_the_same_each_time() -> None:
    value = ["</script><script>alert(1)</script>"] * MOST_PLAIN_BYTES
    element = str(embedded("name", value))
    assert len(element) < MOST_PLAIN_BYTES
    assert content(element) == value
    assert element == str(embedded("name", value))


def test_digits_are_those_of_a_chart() -> None:
    assert content(str(embedded("name", {"a": [1 / 3, 2]}, 5))) == {"a": [0.33333, 2]}
    assert content(str(embedded("name", 1 / 3))) == 1 / 3


def test_nonsense_is_no_figure() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded("name", float("nan"))

"""Strategies for property values as programs and providers produce them."""

from __future__ import annotations

from hypothesis import strategies as st

from falaj.engine.values import UNKNOWN, Archive, Asset, Output, ResourceReference, Secret

# Few letters, all of which some encoding treats specially: large alphabets make the recursive strategies slow.
TEXTS = st.text('ab.:$_0é€\U0001f4a7"\\/\n\t\0\x7f\u2028 <>&', max_size=8)
KEYS = TEXTS
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer() or abs(number) > 2**53  # the others are read back as int
)
HASHES = st.sampled_from(["00" * 32, "ab" * 32, "5d" * 32])
ASSETS = st.one_of(
    st.builds(Asset, HASHES, text=TEXTS),
    st.builds(Asset, HASHES, path=TEXTS),
    st.builds(Asset, HASHES, uri=TEXTS),
    st.builds(Asset, HASHES),
)
ARCHIVES = st.recursive(
    st.builds(Archive, HASHES, path=TEXTS) | st.builds(Archive, HASHES),
    lambda inner: st.builds(Archive, HASHES, assets=st.dictionaries(KEYS, ASSETS | inner, max_size=3)),
    max_leaves=4,
)
REFERENCES = st.builds(
    ResourceReference, TEXTS, st.none() | TEXTS.filter(bool) | st.just(UNKNOWN), st.sampled_from(["", "1.2.3"])
)
PLAIN_LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)


BLOBS_AND_PLAIN = st.recursive(PLAIN_LEAVES | ASSETS | ARCHIVES | REFERENCES, _containers, max_leaves=8)
KNOWN_VALUES = st.recursive(BLOBS_AND_PLAIN | st.builds(Secret, BLOBS_AND_PLAIN), _containers, max_leaves=8)
"""All that may stand in a state."""
WITHOUT_SECRETS = st.recursive(BLOBS_AND_PLAIN | st.just(UNKNOWN), _containers, max_leaves=8)
VALUES = st.recursive(WITHOUT_SECRETS | st.builds(Secret, WITHOUT_SECRETS), _containers, max_leaves=8)
"""All that programs and providers send, but for outputs."""
OUTPUTS = st.builds(Output, VALUES, st.booleans(), st.lists(TEXTS, max_size=2).map(tuple))
PROPERTIES = st.dictionaries(KEYS, VALUES, max_size=5)
KNOWN_PROPERTIES = st.dictionaries(KEYS, KNOWN_VALUES, max_size=5)

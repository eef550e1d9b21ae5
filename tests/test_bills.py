"""Bills of models whose provenance somebody else wrote: whatever it says, the documents are valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.model.config import ModelConfig
from ocimodel.oci.digest import Digest
from ocimodel.record.bills import Subject
from ocimodel.record.bom import cyclonedx
from ocimodel.record.metadata import load
from ocimodel.record.spdx import spdx
from tests.official import check_cyclonedx, check_spdx
from tests.test_record import MODEL

PREDICATE = json.loads(load(MODEL.encode(), "model.yaml").predicate())
NAMED = Subject(name="m", version="", digest=Digest.of(b"m"), repository="r.example/x")
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield from places(item, (*place, key))


@settings(max_examples=40, deadline=None)
@given(place=st.sampled_from(sorted(places(PREDICATE), key=str)), value=ODD)
def test_whatever_stands_anywhere(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(PREDICATE))
    here: Any = document
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    check_cyclonedx(cyclonedx(NAMED, ModelConfig(), [], document))
    check_spdx(spdx(NAMED, ModelConfig(), [], document))


def test_what_has_no_name_is_called_by_what_it_has() -> None:
    materials = [{"digest": {"sha256": "a" * 64}}, {"uri": "pkg:pypi/x@1"}, {}, None]
    predicate = {"buildDefinition": {"resolvedDependencies": materials}}
    found = cyclonedx(NAMED, ModelConfig(), [], predicate)
    check_cyclonedx(found)
    check_spdx(spdx(NAMED, ModelConfig(), [], predicate))
    names = [item["name"] for item in found["components"]]
    assert names == [f"sha256:{'a' * 64}", "pypi/x", "other:2", "other:3"]

"""Whether a registry is asked before a blob is sent."""

from __future__ import annotations

from ocimodel.oci.digest import Digest
from ocimodel.stores.http.asking import SMALL, Asking

BLOB = Digest.of(b"a blob")


def asked(asking: Asking, times: int, *, there: bool) -> int:
    """How many of so many small blobs were asked for, all of them there or none."""
    count = 0
    for _ in range(times):
        if asking.pays(100, BLOB):
            count += 1
            asking.found(there)
    return count


def test_small_blobs_are_not_asked_for_any_more_where_none_is_found() -> None:
    assert asked(Asking(), 1000, there=False) < 100


def test_one_in_a_while_still_is() -> None:
    asking = Asking()
    asked(asking, 1000, there=False)
    assert asked(asking, 40, there=False) > 0


def test_they_are_as_long_as_they_are_found() -> None:
    assert asked(Asking(), 1000, there=True) == 1000


def test_one_that_is_found_changes_that() -> None:
    asking = Asking()
    asked(asking, 100, there=False)
    asking.found(True)
    assert asked(asking, 100, there=True) == 100


def test_large_ones_always_are() -> None:
    asking = Asking()
    asked(asking, 100, there=False)
    assert all(asking.pays(SMALL + 1, BLOB) for _ in range(100))


def test_what_was_just_seen_to_be_missing_is_not_asked_for_again() -> None:
    asking = Asking()
    asking.missing(BLOB)
    assert not asking.pays(SMALL + 1, BLOB)
    assert asking.pays(SMALL + 1, BLOB), "by now somebody may have it"
    assert asking.pays(SMALL + 1, Digest.of(b"another"))

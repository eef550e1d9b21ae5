"""What a policy asks of promotions, without any store: freezes, licences, digests of data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.trust.promotion import allowed, data_problem, promotion

LISTED = frozenset({"mit", "apache-2.0", "gpl-2.0-only with classpath-exception-2.0", "our own licence, version 2"})


def frozen(window: dict[str, str], *times: str) -> list[bool]:
    found = promotion(Node({"freeze": [window]}))
    return [found.frozen(datetime.fromisoformat(time)) is not None for time in times]


def test_a_freeze_holds_from_its_begin_and_not_at_its_end() -> None:
    window = {"from": "2026-12-20T00:00:00Z", "until": "2027-01-04T00:00:00Z"}
    times = ("2026-12-19T23:59:59Z", "2026-12-20T00:00:00Z", "2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z")
    assert frozen(window, *times) == [False, True, True, False]


def test_days_and_hours_are_those_of_the_time_zone() -> None:
    weekend = {"from": "Fri 16:00", "until": "Mon 08:00"}
    # 15:30Z on a Friday is 16:30 in Berlin in winter, and 17:30 in summer.
    assert frozen(weekend, "2026-11-20T15:30:00Z", "2026-11-20T16:00:00Z") == [False, True]
    berlin = weekend | {"timeZone": "Europe/Berlin"}
    assert frozen(berlin, "2026-11-20T14:59:59Z", "2026-11-20T15:00:00Z") == [False, True]
    assert frozen(berlin, "2026-07-17T13:59:59Z", "2026-07-17T14:00:00Z") == [False, True]
    assert frozen(berlin, "2026-11-22T12:00:00Z", "2026-11-23T06:59:59Z", "2026-11-23T07:00:00Z") == [
        True,
        True,
        False,
    ]
    assert frozen(berlin, "2026-11-20T16:30:00+01:00") == [True]  # the same instant, said otherwise


def test_an_hour_of_every_day_may_span_midnight() -> None:
    night = {"from": "18:00", "until": "08:00"}
    assert frozen(night, "2026-11-20T17:59:00Z", "2026-11-20T18:00:00Z", "2026-11-21T07:59:00Z") == [
        False,
        True,
        True,
    ]
    assert frozen(night, "2026-11-21T08:00:00Z") == [False]


def test_local_times_where_a_clock_goes_back_make_the_freeze_longer() -> None:
    """On 2026-10-25 the hour from 2 to 3 comes twice in Berlin."""
    window = {"from": "2026-10-25T02:30:00", "until": "2026-10-25T02:45:00", "timeZone": "Europe/Berlin"}
    times = ("2026-10-25T00:29:59Z", "2026-10-25T00:30:00Z", "2026-10-25T01:44:59Z", "2026-10-25T01:45:00Z")
    assert frozen(window, *times) == [False, True, True, False]


@given(st.integers(0, 2 * 365 * 24 * 60))
def test_a_week_is_frozen_or_not_and_never_neither(minutes: int) -> None:
    """A window and its complement: exactly one of them holds, also where clocks change."""
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    one = {"from": "Sat 02:30", "until": "Sun 02:30", "timeZone": "America/New_York"}
    two = one | {"from": one["until"], "until": one["from"]}
    assert sorted(promotion(Node({"freeze": [item]})).frozen(now) is not None for item in (one, two)) == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"freeze": [{"from": "Fri 16:00"}]}, "freeze[0].until"),
        ({"freeze": [{"from": "Fri 16:00", "until": "08:00"}]}, "freeze[0].until"),
        ({"freeze": [{"from": "Fri 16:00", "until": "Fri 16:00"}]}, "freeze[0].until"),
        ({"freeze": [{"from": "fri 16:00", "until": "Mon 08:00"}]}, "freeze[0].from"),
        ({"freeze": [{"from": "24:00", "until": "08:00"}]}, "freeze[0].from"),
        ({"freeze": [{"from": "2026-12-20T00:00:00Z", "until": "2026-12-20T00:00:00Z"}]}, "freeze[0].until"),
        ({"freeze": [{"from": "2026-12-20T00:00:00", "until": "2026-12-21T00:00:00"}]}, "freeze[0].from"),
        ({"freeze": [{"from": "2026-12-20T00:00:00Z", "until": "Mon 08:00"}]}, "freeze[0].until"),
        ({"freeze": [{"from": "18:00", "until": "08:00", "timeZone": "Mars/Olympus"}]}, "freeze[0].timeZone"),
        ({"freeze": [{"from": "18:00", "until": "08:00", "timeZone": "../../etc/passwd"}]}, "freeze[0].timeZone"),
        ({"freeze": [{"from": "18:00", "until": "08:00", "unless": "x"}]}, "freeze[0].unless"),
        ({"licences": {"allow": []}}, "licences.allow"),
        ({"licences": {}}, "licences.allow"),
        ({"licenses": {"allow": ["MIT"]}}, "licenses"),
        ({"dataDigests": "yes"}, "dataDigests"),
        ({"soak": "1 day"}, "soak"),
    ],
)
def test_what_cannot_be_meant(value: dict[str, Any], path: str) -> None:
    with pytest.raises(FormatError) as caught:
        promotion(Node(value))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("stated", "passes"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("GPL-3.0-only AND MIT OR Apache-2.0", True),  # AND binds closer
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only", False),
        ("MIT WITH Classpath-exception-2.0", False),
        ("Our own licence, version 2", True),
        ("Our own licence, version 3", False),
        ("MIT OR", False),
        ("(MIT", False),
        ("MIT)", False),
        ("OR", False),
        ("", False),
        ("MIT MIT", False),
        ("(" * 500 + "MIT" + ")" * 500, False),
    ],
)
def test_licence_expressions(stated: str, passes: bool) -> None:
    assert allowed(stated, LISTED) is passes


@given(st.text(alphabet="mitandorwith ()-20", max_size=40))
def test_any_text_is_judged(text: str) -> None:
    """Never an exception; and what names nothing that is allowed never passes."""
    assert not allowed(text, frozenset({"none-of-these"}))
    allowed(text, LISTED)


def test_every_licence_that_is_stated_must_be_allowed() -> None:
    found = promotion(Node({"licences": {"allow": ["MIT", "Apache-2.0"]}}))
    assert found.licence_problem(["MIT", "Apache-2.0"]) == ""
    assert found.licence_problem(["MIT", "CC-BY-NC-4.0"]) == "it is under 'CC-BY-NC-4.0'"
    assert found.licence_problem([]) == "it states no licence"
    assert found.licence_problem([" "]) == "it states no licence"
    assert promotion(None).licence_problem([]) == ""


def data(digest: Any, role: str = "training-data") -> dict[str, Any]:
    item = {"name": "train", "digest": digest, "annotations": {"role": role}}
    return {"buildDefinition": {"resolvedDependencies": [item]}}


@pytest.mark.parametrize(
    ("digest", "pinned"),
    [
        ({"sha256": "a" * 64}, True),
        ({"sha512": "a" * 128}, True),
        ({"md5": "a" * 32, "sha256": "a" * 64}, True),
        ({"dirHash": "h1:x"}, True),
        ({"sha256": "a" * 63}, False),
        ({"sha256": "x" * 64}, False),
        ({"md5": "a" * 32}, False),
        ({"sha1": "a" * 40}, False),
        ({"gitCommit": "a" * 40}, False),
        ({"sha256": None}, False),
        ({}, False),
        (None, False),
        ("a" * 64, False),
    ],
)
def test_data_is_pinned_by_strong_digests_alone(digest: Any, pinned: bool) -> None:
    assert (data_problem([data(digest)]) == "") is pinned


def test_data_that_nobody_names_is_not_pinned() -> None:
    silent: list[dict[str, Any]] = [{}, {"buildDefinition": []}, data({"sha256": "a" * 64}, role="base-model")]
    for predicate in silent:
        assert data_problem([predicate]) == "no provenance names the data that it was trained on"
    assert data_problem([]) != ""
    many = {
        "buildDefinition": {"resolvedDependencies": [*data({})["buildDefinition"]["resolvedDependencies"] * 20, 7]}
    }
    assert data_problem([many]).endswith("and 12 more")

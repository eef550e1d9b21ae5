"""Test results (in-toto/attestation, spec/predicates/test-result.md, v0.1): what was tried, and how it went.

Guarantees: pure functions; a `Result` has one spelling as bytes, without a time or a host. It is ``FAILED`` where a
test failed, else ``WARNED`` where one warned, else ``PASSED``; one without a test is none (`Result` refuses it).
Numbers are compared as the decimal numbers that they were written as. What is not there, or is no finite number,
holds no threshold.

A result is what its signer says. Whether that counts is for a policy, or for whoever asks (`demanded`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, Self

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.oci import media

Outcome = Literal["PASSED", "WARNED", "FAILED"]

OUTCOMES: Final[tuple[Outcome, ...]] = ("PASSED", "WARNED", "FAILED")
"""From good to bad."""

SCAN: Final = "scan"
"""The name under which a test result by the scanner is asked for."""

MAX_TESTS = 10_000
_OPERATORS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_NUMBER: Final = r"[-+]?(?:[0-9]{1,64}(?:\.[0-9]{0,64})?|\.[0-9]{1,64})(?:[eE][-+]?[0-9]{1,4})?"
_THRESHOLD: Final = re.compile(rf"\s*([^\s<>=!]{{1,256}})\s*(>=|<=|==|!=|>|<)\s*({_NUMBER})\s*")


def number(text: str) -> Decimal | None:
    """The finite number that ``text`` spells; None where it spells none."""
    try:
        return Decimal(text) if re.fullmatch(_NUMBER, text) else None
    except InvalidOperation:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a metric must be, as in ``accuracy >= 0.9``."""

    metric: str
    operator: str
    bound: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `FormatError`."""
        match = _THRESHOLD.fullmatch(text)
        if match is None or not match[1].isprintable():
            raise FormatError(f"{text[:80]!r} is no threshold")
        return cls(metric=match[1], operator=match[2], bound=match[3])

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound}"

    def holds(self, values: Sequence[str]) -> bool:
        """Whether each of ``values``, all that is known of the metric, keeps to it; no value does not."""
        bound, compare = Decimal(self.bound), _OPERATORS[self.operator]
        found = [number(value) for value in values]
        return bool(found) and all(value is not None and compare(value, bound) for value in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of tests.

    Attributes:
        configuration: ResourceDescriptors: what was run, and on what.
        url: of the run.
        extensions: further members, named by URIs.

    Raises:
        FormatError: there is no test, there are too many, or one stands twice.
    """

    configuration: Sequence[Mapping[str, Any]]
    passed: Sequence[str] = ()
    warned: Sequence[str] = ()
    failed: Sequence[str] = ()
    url: str = ""
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.passed, *self.warned, *self.failed]
        if not 1 <= len(names) <= MAX_TESTS:
            raise FormatError(f"a result has at least one test, and at most {MAX_TESTS}")
        if len(set(names)) != len(names):
            raise FormatError("a test stands twice in a result")

    @property
    def outcome(self) -> Outcome:
        return "FAILED" if self.failed else "WARNED" if self.warned else "PASSED"

    def predicate(self) -> bytes:
        """Its one spelling, canonical JSON."""
        return jsonio.canonical(
            {
                "result": self.outcome,
                "configuration": list(self.configuration),
                "passedTests": sorted(self.passed),
                "warnedTests": sorted(self.warned),
                "failedTests": sorted(self.failed),
                **({"url": self.url} if self.url else {}),
                **self.extensions,
            }
        )


def evaluation(
    metrics: Mapping[str, Sequence[str]],
    required: Iterable[Threshold],
    wished: Iterable[Threshold] = (),
    *,
    sources: Sequence[Mapping[str, Any]] = (),
    url: str = "",
) -> Result:
    """What ``metrics`` (each with all of its values) come to.

    Args:
        required: thresholds that fail the result where they do not hold.
        wished: thresholds that warn there.
        sources: ResourceDescriptors of the files that said so.

    Raises:
        FormatError: there is no threshold, or one stands twice.
    """
    passed: list[str] = []
    missed: dict[bool, list[str]] = {True: [], False: []}
    for is_required, thresholds in ((True, required), (False, wished)):
        for threshold in thresholds:
            holds = threshold.holds(metrics.get(threshold.metric, ()))
            (passed if holds else missed[is_required]).append(str(threshold))
    return Result(
        configuration=[{"name": "ocimodel attest --metrics", "uri": media.EVALUATION}, *sources],
        passed=passed,
        warned=missed[False],
        failed=missed[True],
        url=url,
        extensions={
            media.METRICS: [{"name": name, "value": value} for name in sorted(metrics) for value in metrics[name]]
        },
    )


def outcome_of(predicate: Mapping[str, Any]) -> str:
    """What a predicate says came of its tests; empty where it says nothing that the specification knows."""
    said = predicate.get("result")
    return said if isinstance(said, str) and said in OUTCOMES else ""


def by_scanner(predicate: Mapping[str, Any]) -> bool:
    """Whether the scanner says it, and not an evaluation or somebody else's tests."""
    listed = predicate.get("configuration")
    items = listed if isinstance(listed, list) else []
    return any(isinstance(item, dict) and item.get("uri") == media.SCAN for item in items)


def demanded(*, scan: bool) -> dict[str, Any]:
    """The JSON Schema of a result that passed: by the scanner, or by anything but the scanner.

    A clean scan must not stand for an evaluation, nor the other way round; both are results of tests.
    """
    scanner = {"contains": {"properties": {"uri": {"const": media.SCAN}}, "required": ["uri"]}}
    return {
        "properties": {
            "result": {"const": "PASSED"},
            "failedTests": {"type": "array", "maxItems": 0},
            "configuration": {"type": "array", **(scanner if scan else {"not": scanner})},
        },
        "required": ["result", "configuration"],
    }

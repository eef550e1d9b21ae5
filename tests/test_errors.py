"""The exit codes are a contract with pipelines: they are written down here a second time."""

from __future__ import annotations

import re

import pytest

from ocimodel import errors

CODES = {
    "OcimodelError": (1, ""),
    "UsageError": (2, "usage"),
    "ConfigurationError": (3, "configuration"),
    "UnsignedError": (10, "trust"),
    "NotFoundError": (11, "availability"),
    "UntrustedError": (12, "trust"),
    "CertificateError": (13, "trust"),
    "IntegrityError": (14, "integrity"),
    "DigestMismatchError": (14, "integrity"),
    "FormatError": (14, "integrity"),
    "UnsafePathError": (14, "integrity"),
    "ExpiredError": (15, "lifecycle"),
    "RevokedError": (16, "trust"),
    "ContextError": (17, "context"),
    "RollbackError": (18, "lifecycle"),
    "GateError": (19, "policy"),
    "StaleTrustError": (21, "lifecycle"),
    "StorageError": (74, "availability"),
    "UnavailableError": (75, "availability"),
    "RejectedError": (1, "availability"),
    "AuthenticationError": (77, "availability"),
}
TREE = [
    item
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, errors.OcimodelError) and item is not errors.Refusal
]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_code_and_class(error: type[errors.OcimodelError]) -> None:
    assert (error.exit_code, error.klass) == CODES[error.__name__]


def test_no_error_is_missing_from_the_contract() -> None:
    assert {error.__name__ for error in TREE} == set(CODES)


def test_the_drawing_shows_every_error_and_its_code() -> None:
    drawn = dict(re.findall(r"(\w+Error) +(\d+)? ", errors.__doc__ or ""))
    assert set(drawn) == set(CODES)
    assert all(int(code) == CODES[name][0] for name, code in drawn.items() if code)


def test_severity_ranks_every_refusal_once() -> None:
    refusals = {error.exit_code for error in TREE if issubclass(error, errors.Refusal)}
    assert set(errors.SEVERITY) == refusals
    assert len(errors.SEVERITY) == len(set(errors.SEVERITY))


def test_every_error_says_what_to_do_next() -> None:
    for error in TREE:
        assert error.hint
        assert error.reason


def test_hint_and_reason_of_one_occurrence() -> None:
    error = errors.UnavailableError("no answer", hint="Wait.", reason="kms")
    assert (str(error), error.hint, error.reason) == ("no answer", "Wait.", "kms")
    assert errors.UnavailableError("x").reason == "registry"


def test_a_mismatch_names_both_sides() -> None:
    error = errors.DigestMismatchError("layer", expected="sha256:a", actual="sha256:b")
    assert str(error) == "layer: expected sha256:a, got sha256:b"
    assert (error.expected, error.actual) == ("sha256:a", "sha256:b")


def test_a_format_error_names_the_field() -> None:
    assert str(errors.FormatError("is missing", path="layers[2].digest")) == "layers[2].digest: is missing"
    assert str(errors.FormatError("is missing")) == "is missing"

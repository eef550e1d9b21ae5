"""Test results on the command line: what was measured and must hold, and what a pipeline is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ocimodel.cli import options
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural
from ocimodel.cli.values import document, one_of
from ocimodel.errors import ConfigurationError, FormatError, GateError, UsageError

if TYPE_CHECKING:
    from ocimodel.attest.testresult import Result
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.examine import ScanMode

TYPE = "test-result"
_SHOWN = 10

Metrics = Annotated[
    str | None,
    options.option(
        "--metrics",
        metavar="SOURCE",
        help="Make a test result of what was measured: a JSON file, or hf:DIR, mlflow:DIR, wandb:DIR; - is stdin.",
    ),
]
Require = Annotated[
    list[str] | None,
    options.option(
        "--threshold",
        metavar="'M>=N'",
        variable="OCIMODEL_METRIC_THRESHOLD",
        help="Fails the result where it does not hold (repeatable).",
    ),
]
Wish = Annotated[
    list[str] | None,
    options.option(
        "--warn-threshold", metavar="'M>=N'", help="Warns in the result where it does not hold (repeatable)."
    ),
]
Thresholds = Annotated[
    str | None,
    options.option("--thresholds", metavar="FILE", help="More of both, as lists require and warn (YAML or JSON)."),
]
Scan = Annotated[
    Path | None,
    options.option(
        "--scan",
        metavar="DIR",
        help="Make a test result of a look into the artifact's files, which are in DIR, for what could harm.",
    ),
]
RunUrl = Annotated[str, options.option("--run-url", metavar="URL", help="Where the run of the tests can be seen.")]
FailOn = Annotated[
    str | None,
    options.option(
        "--fail-on",
        metavar="RESULT",
        help="Exit with 19 where the result is failed, or also where it is warned. It is attached all the same.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What ``--metrics`` and the options that belong to it say."""

    metrics: str | None
    require: Sequence[str]
    wish: Sequence[str]
    file: str | None
    url: str

    def __bool__(self) -> bool:
        return bool(self.metrics is not None or self.require or self.wish or self.file or self.url)

    def result(self) -> Result:
        """Raises UsageError where nothing was asked for, ConfigurationError where a file is malformed."""
        from ocimodel.attest.testresult import Threshold, evaluation
        from ocimodel.record import metrics

        if self.metrics is None:
            raise UsageError(
                "nothing is to be attested",
                hint="Give --type URI --predicate FILE, or --metrics FILE --threshold M>=N, or --scan DIR.",
            )
        try:
            required, wished = ([Threshold.parse(item) for item in texts] for texts in (self.require, self.wish))
        except FormatError as error:
            raise UsageError(error.what, hint=metrics.HINT) from None
        sources = []
        if self.file is not None:
            data = document(self.file, "--thresholds")
            more, wishes = metrics.thresholds_of_file(data, self.file)
            required, wished = required + more, wished + wishes
            sources.append(_source(self.file, "thresholds", data))
        if not required and not wished:
            raise UsageError(
                "--metrics needs a threshold: without one there is no test",
                hint="Add --threshold 'accuracy>=0.9', or --thresholds FILE.",
            )
        if metrics.is_directory(self.metrics):
            found = metrics.of_directory(self.metrics)
            sources.append(_source(self.metrics, "metrics"))
        else:
            data = document(self.metrics, "--metrics")
            found = metrics.of_file(data, self.metrics)
            sources.append(_source(self.metrics, "metrics", data))
        try:
            return evaluation(found, required, wished, sources=sources, url=self.url)
        except FormatError as error:
            raise ConfigurationError(error.what, hint="Give each threshold once.") from None


def _source(name: str, role: str, data: bytes | None = None) -> dict[str, Any]:
    """A ResourceDescriptor: the last part of the name, for the rest is where it lay on this machine."""
    kind, _, place = name.rpartition(":") if data is None else ("", "", name)
    last = Path(place).absolute().name if place != "-" else "stdin"
    found: dict[str, Any] = {"name": f"{kind}:{last}" if kind else last, "annotations": {"role": role}}
    return found if data is None else {**found, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}


def is_type(kind: str) -> bool:
    """Whether ``kind`` is that of test results. Raises UsageError where it is none."""
    from ocimodel.attest.predicates import predicate_type
    from ocimodel.oci import media

    return predicate_type(kind) == media.TEST_RESULT


def made(run: Run, reference: Reference, kind: str, asked: Asked, scan: Path | None) -> tuple[Reference, Result]:
    """The result that was asked for, and ``reference``, pinned if the result hangs on its files."""
    if kind and not is_type(kind):
        raise UsageError(
            "--metrics and --scan make test results, and --type says something else",
            hint="Leave --type out, or give --predicate.",
        )
    if scan is None:
        return reference, asked.result()
    if asked:
        raise UsageError("--metrics and --scan are two statements", hint="Attest one, then the other.")
    from ocimodel.verbs.examine import examine_directory

    return examine_directory(reference, scan, access=run.access, meter=run.meter)


def scan_mode(text: str | None) -> ScanMode | None:
    """``report`` or ``refuse``; None where nothing was said."""
    if text is None:
        return None
    from ocimodel.verbs.examine import SCAN_MODES

    return one_of(SCAN_MODES, text, "--attest-scan")


def fatal(fail_on: str | None) -> tuple[str, ...]:
    """The results that end with 19."""
    if fail_on is None:
        return ()
    found = {"failed": ("FAILED",), "warned": ("FAILED", "WARNED")}.get(fail_on)
    if found is None:
        raise UsageError(f"--fail-on {fail_on[:40]!r} is not known", hint="Write failed or warned.")
    return found


def told(run: Run, answer: Answer, result: Result, fatal: Sequence[str]) -> Answer:
    """``answer``, which attached ``result``, with what it says. Raises GateError where that is fatal."""
    answer = replace(answer, more={**answer.more, "result": described(result)})
    run.note(summary(result))
    for line in findings(result):
        run.note(line)
    if result.outcome in fatal:
        run.explain = lambda _failure: answer
        raise GateError(
            f"the result is {summary(result)}",
            reason="test-failed",
            hint="It was attached all the same: ocimodel attest show REF. Nobody should sign this artifact.",
        )
    return answer


def summary(result: Result) -> str:
    """One line: how it went, and what did not go well."""
    bad = [*result.failed, *result.warned]
    text = f"{result.outcome}, {len(result.passed)} of {plural(len(result.passed) + len(bad), 'test')} passed"
    return f"{text}; not {', '.join(bad[:5])}" if bad else text


def findings(result: Result) -> list[str]:
    """A line for each of the first things that a scan has found."""
    from ocimodel.oci import media

    found = result.extensions.get(media.FINDINGS, ())
    lines = [f"{item['level']}: {item['path']}: {item['detail']} [{item['test']}]" for item in found[:_SHOWN]]
    more = len(found) - _SHOWN
    return [*lines, f"and {more} more; --json lists them"] if more > 0 else lines


def described(result: Result) -> dict[str, Any]:
    """A result in a JSON document."""
    from ocimodel.oci import media

    return {
        "outcome": result.outcome,
        "passedTests": sorted(result.passed),
        "warnedTests": sorted(result.warned),
        "failedTests": sorted(result.failed),
        "findings": list(result.extensions.get(media.FINDINGS, ())),
    }

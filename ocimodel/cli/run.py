"""One run of one command: what it was asked, what came of it, and the one place where that is told.

Guarantees: `finish` happens once, whoever calls it first (the command, or the watchdog after a signal); the audit
event is on the disk before anything is printed; with ``--json`` stdout gets exactly one document, whatever
happened; an audit log that cannot be written is a warning and changes no result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ocimodel.audit.redact import redact
from ocimodel.cli.console import Console
from ocimodel.cli.failures import describe
from ocimodel.cli.verdicts import signers, verdict_of
from ocimodel.errors import OcimodelError, Reason, Refusal

if TYPE_CHECKING:
    from ocimodel.audit.event import Event, Mode
    from ocimodel.oci.reference import Reference
    from ocimodel.stores.opening import Access
    from ocimodel.transfer.meter import Meter
    from ocimodel.trust.verdict import Verdict

Signers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that every command has."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    plain_http: tuple[str, ...] = ()
    ca_file: Path | None = None
    registry_config: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command found or did. ``text`` is its stdout, ``more`` its own members of the JSON document."""

    text: str
    reference: str | None = None
    digest: str | None = None
    outcome: Literal["pass", "warn"] = "pass"
    would_exit: int = 0
    """What enforcing would have exited with, where a softer mode let it pass."""
    klass: str = "none"
    reasons: tuple[Reason, ...] = ()
    signers: Signers | None = None
    warnings: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


class Run:
    """What a command's body has at hand."""

    def __init__(self, command: str, settings: Settings, console: Console, *, event: str | None) -> None:
        self.command = command
        self.settings = settings
        self.console = console
        self.now = datetime.now(UTC)
        self.requested: str | None = None
        self.name: str | None = None
        self.digest: str | None = None
        self.pinned: str | None = None
        self.mode: Mode | None = None
        self.environment: str | None = None
        self.policy: Mapping[str, str | None] | None = None
        self.context: Mapping[str, str] = {}
        self.gates: Signers = ()
        """What became of each gate of a promotion, for the audit event."""
        self.promotion: dict[str, Any] | None = None
        self.partial: dict[str, Any] = {}
        """Members of the JSON document that hold however the command ends."""
        self.explain: Callable[[OcimodelError], Answer | None] = lambda _error: None
        """What goes to stdout beside a refusal: `verify` shows its checks."""
        self._reference: Reference | None = None
        self._event = event
        self._began = time.monotonic()
        self._once = threading.Lock()
        self._meter: Meter | None = None
        self._warning = threading.Lock()
        self._warned: set[str] = set()

    def reference(self, text: str) -> Reference:
        """The reference that the command is about."""
        from ocimodel.oci.reference import Reference

        self.requested = text
        reference = self._reference = Reference.parse(text)
        self.name = reference.name
        self.digest = str(reference.digest) if reference.digest else None
        return reference

    @property
    def access(self) -> Access:
        from ocimodel.stores.opening import Access

        return Access(
            plain_http=frozenset(self.settings.plain_http),
            ca_file=self.settings.ca_file,
            registry_config=self.settings.registry_config,
            tell=self.warn_once,
        )

    @property
    def meter(self) -> Meter:
        if self._meter is None:
            from ocimodel.cli.progress import meter

            self._meter = meter(self.console, quiet=self.settings.quiet)
        return self._meter

    def note(self, text: str) -> None:
        """Something good to know, unless the user wants quiet."""
        if not self.settings.quiet:
            self.console.line(text)

    def warn(self, text: str) -> None:
        self.console.line(f"warning: {text}")

    def warn_once(self, text: str) -> None:
        """A warning that may come from several threads, and for each artifact again."""
        with self._warning:
            if text in self._warned:
                return
            self._warned.add(text)
            self.warn(text)

    def judged(self, verdict: Verdict) -> None:
        """What was decided, for the audit event."""
        self.name, self.digest = verdict.name, str(verdict.subject.digest)
        self.mode = verdict.ruling.mode
        self.environment = verdict.ruling.environment or None

    def execute(self, body: Callable[[], Answer]) -> int:
        """Call ``body`` and tell what came of it. Returns the exit code."""
        try:
            answer = body()
        except BaseException as error:  # noqa: BLE001 - the one outermost place: every ending is told
            return self.failed(error)
        return self._finish(answer, None)

    def failed(self, error: BaseException) -> int:
        """Tell that the command failed. Returns the exit code."""
        if self.settings.debug:
            import traceback

            self.console.raw("".join(traceback.format_exception(error)))
        failure = describe(error)
        return self._finish(self.explain(failure), failure)

    def _finish(self, answer: Answer | None, failure: OcimodelError | None) -> int:
        code = failure.exit_code if failure else 0
        if not self._once.acquire(blocking=False):
            return code
        if self._meter is not None:
            self._meter.end()
        if answer is not None:
            self.digest = answer.digest or self.digest
        if verdict := verdict_of(failure):
            self.judged(verdict)
            if self._reference is not None:
                self.pinned = str(self._reference.at(verdict.subject.digest))
        self._leave_event(answer, failure)
        try:
            self._print(answer, failure)
        except OcimodelError as error:  # stdout itself failed
            failure = failure or error
        if failure is not None:
            self._say(failure)
        return failure.exit_code if failure else code

    def _print(self, answer: Answer | None, failure: OcimodelError | None) -> None:
        for warning in answer.warnings if answer else ():
            self.warn(warning)
        if self.settings.json:
            self.console.document(self._document(answer, failure))
        elif answer is not None:
            self.console.answer(answer.text)

    def _say(self, failure: OcimodelError) -> None:
        kind = "REFUSED" if isinstance(failure, Refusal) else "error"
        self.console.line(f"{kind}: {failure.message}")
        self.console.line(f"hint: {failure.hint}")

    def _document(self, answer: Answer | None, failure: OcimodelError | None) -> dict[str, Any]:
        code = failure.exit_code if failure else 0
        document: dict[str, Any] = {
            "command": self.command,
            "reference": _clean((answer.reference if answer else None) or self.pinned or self.requested),
            "digest": self.digest,
            "outcome": _outcome(answer, failure),
            "exitCode": code,
            "wouldExit": _would_exit(answer, failure),
            "class": _class(answer, failure),
            "reasons": [
                {
                    "class": reason.klass or _class(answer, failure),
                    "reason": reason.reason,
                    "detail": redact(reason.detail),
                }
                for reason in _reasons(answer, failure)
            ],
        }
        signers = _signers(answer, failure)
        if signers is not None:
            document["signers"] = [dict(signer) for signer in signers]
        if failure is not None:
            document["hint"] = redact(failure.hint)
        return {**document, **self.partial, **(answer.more if answer else {})}

    def _leave_event(self, answer: Answer | None, failure: OcimodelError | None) -> None:
        if self._event is None:
            return
        from ocimodel.audit import log

        try:
            log.append(self._audit_event(answer, failure).line(), log.destination())
        except OcimodelError as error:
            self.warn(f"no audit event: {error.message}")

    def _audit_event(self, answer: Answer | None, failure: OcimodelError | None) -> Event:
        import os

        from ocimodel import __version__
        from ocimodel.audit import surroundings
        from ocimodel.audit.event import Event

        code = failure.exit_code if failure else 0
        return Event(
            verb=self._event or self.command,
            id=os.urandom(16).hex(),
            host=surroundings.host(),
            time=datetime.now(UTC),
            outcome=_outcome(answer, failure),
            exit_code=code,
            would_exit=_would_exit(answer, failure),
            klass=_class(answer, failure),
            reasons=_reasons(answer, failure),
            actor=surroundings.actor(),
            tool=__version__,
            requested=self.requested,
            name=_absolute(self.name),
            digest=self.digest,
            mode=self.mode,
            environment=self.environment or surroundings.environment(),
            signers=_signers(answer, failure) or (),
            policy=self.policy,
            context=self.context,
            durations={"totalMs": int((time.monotonic() - self._began) * 1000)},
            gates=self.gates,
            promotion=self.promotion,
        )


def _absolute(name: str | None) -> str | None:
    """A layout by its whole path: whoever reads the log stands in another directory."""
    if name is None or not name.startswith("oci:"):
        return name
    import os

    return f"oci:{os.path.abspath(name.removeprefix('oci:'))}"


def _clean(text: str | None) -> str | None:
    return None if text is None else redact(text)


def _outcome(answer: Answer | None, failure: OcimodelError | None) -> Literal["pass", "warn", "fail", "error"]:
    if failure is not None:
        return "fail" if isinstance(failure, Refusal) else "error"
    return answer.outcome if answer else "pass"


def _would_exit(answer: Answer | None, failure: OcimodelError | None) -> int:
    if failure is None:
        return answer.would_exit if answer else 0
    verdict = verdict_of(failure)
    return verdict.would_exit if verdict is not None and verdict.outcome == "fail" else failure.exit_code


def _class(answer: Answer | None, failure: OcimodelError | None) -> str:
    if failure is not None:
        verdict = verdict_of(failure)
        refused = verdict is not None and verdict.outcome == "fail"
        return verdict.klass if verdict is not None and refused else failure.klass or "unexpected"
    return answer.klass if answer else "none"


def _reasons(answer: Answer | None, failure: OcimodelError | None) -> Sequence[Reason]:
    if failure is not None:
        return failure.reasons
    return answer.reasons if answer else ()


def _signers(answer: Answer | None, failure: OcimodelError | None) -> Signers | None:
    if answer is not None and answer.signers is not None:
        return answer.signers
    verdict = verdict_of(failure)
    return signers(verdict) if verdict is not None else None

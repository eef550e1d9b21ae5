"""Ask a time-stamping authority (RFC 3161) to date signatures as they are made.

Guarantees: a signature is written with a token or not at all. A token is only taken from a response that was
granted to the very request, with its nonce and over the signature's hash; where the authority's roots are given, it
also has to verify as it would for a policy that trusts them. Without them nothing says who has answered. Only the
hash of a signature leaves the machine, for the one address that was given: no redirect is followed, no credentials
are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocimodel.attest.signed import Signed
from ocimodel.errors import AuthenticationError, CertificateError, UnavailableError, UsageError
from ocimodel.keys import stamping, timestamps
from ocimodel.keys.stamping import Question
from ocimodel.stores.http.origins import Origin, redacted
from ocimodel.stores.http.policy import RETRYABLE, Backoff, Patience
from ocimodel.trust import chains
from ocimodel.trust.stamps import MAX_TOKENS, proven

if TYPE_CHECKING:
    from ocimodel.stores.http.services import Services

_PATIENCE: Final = Patience(connect=5.0, stall=15.0, tries=3, document=15.0, wall=60.0)
_LEEWAY: Final = timedelta(seconds=60)
_NONE: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A time-stamping authority that can be asked; a `ocimodel.keys.signer.Stamper`.

    Attributes:
        url: http or https; of the former nothing has to be kept secret, and an answer is signed.
        roots: DER; where there are none, it is not checked who answers.
        ca_file: an additional authority for TLS.

    Raises:
        UsageError: the URL is none.
        ConfigurationError: the package that verifies tokens is not installed.
    """

    url: str
    roots: frozenset[bytes] = field(default=_NONE, repr=False)
    ca_file: Path | None = None
    patience: Patience = _PATIENCE
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

    def __post_init__(self) -> None:
        timestamps.available()
        try:
            Origin.of(self.url.encode("ascii").decode())  # nothing else goes on the wire
        except ValueError:
            raise UsageError(
                f"{redacted(self.url)!r} is no address of a time-stamping authority",
                hint="Write --timestamp-url http://HOST/PATH or https://…, without a user name.",
            ) from None

    def stamp(self, signature: bytes, hash_name: str) -> bytes:
        """See `ocimodel.keys.signer.Stamper`."""
        question = Question.about(signature, hash_name)
        response = question.answer(self._asked(question))
        if self.roots:
            stamp, wrong = proven(response, signature, self.roots, chains.shift(self.clock(), _LEEWAY))
            if stamp is None:
                raise CertificateError(
                    f"{redacted(self.url)}: {wrong}",
                    hint="Nothing was written. Check --timestamp-url, --timestamp-root and this machine's clock.",
                    reason="timestamp",
                )
        return response

    def has_stamped(self, signed: Signed) -> bool:
        """See `ocimodel.keys.signer.Stamper`."""
        now = chains.shift(self.clock(), _LEEWAY)
        return any(
            proven(token, signed.signature, self.roots, now)[0] is not None
            if self.roots
            else stamping.is_over(token, signed.signature)
            for token in signed.timestamps[:MAX_TOKENS]
        )

    def _asked(self, question: Question) -> bytes:
        from ocimodel.stores.http.services import Services

        services = Services(self.patience, self.ca_file)
        backoff = Backoff(self.patience)
        try:
            while True:
                try:
                    return self._once(services, question)
                except UnavailableError:
                    if not backoff.again():
                        raise
        finally:
            services.close()

    def _once(self, services: Services, question: Question) -> bytes:
        where = f"the time-stamping authority {redacted(self.url)}"
        try:
            status, answer = services.exchange(
                self.url, question.request, content_type=stamping.REQUEST_TYPE, limit=stamping.MAX_ANSWER
            )
        except UnavailableError as error:
            raise _unavailable(f"the time-stamping authority: {error.message}") from None
        if status == 200:
            return answer
        if status in (401, 403):
            raise AuthenticationError(
                f"{where} answered {status}", hint="Ask who runs it whether this machine may use it."
            )
        if status in RETRYABLE or status >= 500:
            raise _unavailable(f"{where} answered {status}")
        raise UsageError(
            f"{where} answered {status}, and takes no requests there",
            hint="Check --timestamp-url; no redirect is followed.",
        )


def _unavailable(what: str) -> UnavailableError:
    hint = "No signature was written. Run the same command again, or sign without --timestamp-url."
    return UnavailableError(what, hint=hint, reason="timestamp")

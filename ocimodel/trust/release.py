"""What a signer can say about where an artifact is meant to go: claims of ours that are not an expiry."""

from __future__ import annotations

from dataclasses import dataclass

from ocimodel.errors import UsageError
from ocimodel.oci import media

MAX_SEQUENCE = 10**18 - 1
_MAX_TEXT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Nothing is said of what is empty.

    Attributes:
        sequence: the number by which releases of a channel follow each other; nodes take none that is lower.
        environment: the only one that the signature counts in, where a policy names one.
        channel: the tag that it is for, where a promotion, or ``--context channel=``, asks.

    Raises:
        UsageError: a number that no node would take, or a text that is none.
    """

    sequence: int | None = None
    environment: str = ""
    channel: str = ""

    def __post_init__(self) -> None:
        if self.sequence is not None and not 0 <= self.sequence <= MAX_SEQUENCE:
            raise UsageError(f"{self.sequence} is no sequence number", hint="It has at most 18 digits.")
        for name, said in (("environment", self.environment), ("channel", self.channel)):
            if len(said) > _MAX_TEXT or not said.isprintable():
                raise UsageError(f"the {name} is not one short line of text", hint="Give the name alone.")

    def claims(self) -> dict[str, str]:
        """As they stand in a signature."""
        said = {
            media.CLAIM_SEQUENCE: "" if self.sequence is None else str(self.sequence),
            media.CLAIM_ENVIRONMENT: self.environment,
            media.CLAIM_CHANNEL: self.channel,
        }
        return {key: value for key, value in said.items() if value}


NOTHING = Release()

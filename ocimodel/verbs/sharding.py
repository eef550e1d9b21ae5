"""One share of a long list of work, where several processes have one each.

Guarantees: which share a name belongs to depends on the name and on the number of shares alone, so that the shares
together have every name once, whatever each of them sees first, and a share that is run again has the same names.
Nobody is asked and nothing is written: a Kubernetes Indexed Job, or a matrix of a CI system, hands out the numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ocimodel.errors import UsageError

MAX_SHARES = 100_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Share ``index`` of ``count``, counted from 0.

    Raises:
        UsageError: there is no such share.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_SHARES or not 0 <= self.index < self.count:
            raise UsageError(
                f"there is no share {self.index} of {self.count}",
                hint=f"Shares are counted from 0, at most {MAX_SHARES} of them: 0/4, 1/4, 2/4, 3/4.",
            )

    def owns(self, name: str) -> bool:
        """Whether ``name`` belongs to this share.

        >>> [Shard(index, 3).owns("registry.example/ml/bert:1.4") for index in range(3)]
        [True, False, False]
        """
        if self.count == 1:
            return True
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()

"""Which formats of weights a policy lets through.

Guarantees: `Formats.declared` judges by what the manifest says, before a byte of a layer is asked for;
`Formats.of_content` by what is in a file, whatever it is called. A pickle runs code when it is loaded, so it is
denied unless a policy allows it. What comes in archives is judged file by file, once it is unpacked. See
`ocimodel.model.pickles` for what is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ocimodel.model.formats import PICKLE, format_of_name, format_of_type, is_weight
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.trust.verdict import FORMAT_DENIED, Finding

_NAMES = (media.FILEPATH, "org.cnai.model.filepath", media.TITLE)
MAX_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """``allow`` None: all but those denied. Else weights must be of an allowed format, and one that is known."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()

    @property
    def restrict(self) -> bool:
        return self.allow is not None or bool(self.deny)

    @property
    def keeps_pickles_out(self) -> bool:
        """Whether files have to be looked into for pickles."""
        return self.refuses(PICKLE)

    def refuses(self, name: str) -> bool:
        """Whether the format ``name`` is kept out."""
        return name in self.deny or (self.allow is not None and name not in self.allow)

    def declared(self, layers: Sequence[Descriptor] | None) -> Iterable[Finding]:
        """What a manifest says of its files; None: nothing is known of them."""
        if not self.restrict:
            return
        if layers is None:
            yield _finding("nothing is known of the artifact's files")
            return
        refused = [problem for layer in layers if (problem := self._of_layer(layer))]
        if refused:
            more = f", and {len(refused) - MAX_NAMED} more files" if len(refused) > MAX_NAMED else ""
            yield _finding("; ".join(refused[:MAX_NAMED]) + more)

    def _of_layer(self, layer: Descriptor) -> str:
        name = next((text for key in _NAMES if (text := layer.annotations.get(key))), "")
        called = name or f"layer {layer.digest}"
        typed = format_of_type(layer.media_type)
        if typed and self.refuses(typed):
            return f"{called} is declared to be {typed}"
        return self.of_name(name, layer.size, layer.media_type, called)

    def of_name(self, name: str, size: int, media_type: str = "", called: str = "") -> str:
        """Why a file of this name is kept out; empty where it is not."""
        if media_type.endswith((".tar", "+gzip", "+zstd", ".tar.gz")):
            return ""
        of_name = format_of_name(name) or format_of_type(media_type)
        if of_name in self.deny:
            return f"{called or name} is {_article(of_name)}, by its name"
        if self.allow is not None and is_weight(name, size, media_type) and of_name not in self.allow:
            what = _article(of_name) if of_name else "of no format that is known"
            return f"{called or name} is {what}, by its name"
        return ""

    def of_content(self, name: str, pickled: str) -> str:
        """Why a file with this content is kept out; ``pickled`` is what `pickle_in` said of it."""
        return f"{name} is, or holds, {pickled}" if pickled and self.keeps_pickles_out else ""


def found(problems: Iterable[str]) -> Finding | None:
    """What is wrong with the files that were looked into."""
    listed = sorted(problems)
    if not listed:
        return None
    more = f", and {len(listed) - MAX_NAMED} more files" if len(listed) > MAX_NAMED else ""
    return _finding("; ".join(listed[:MAX_NAMED]) + more)


def _article(name: str) -> str:
    return f"a file of the format {name}"


def _finding(detail: str) -> Finding:
    return Finding(exit_code=19, reason=FORMAT_DENIED, detail=f"a format that is not allowed here: {detail}")

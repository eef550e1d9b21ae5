"""Open a model where it is: list its tensors, read one of them, or all in order, without a copy on the disk.

    with ocimodel.open("registry.example/ml/bert:1.4", keys=["signing.pub"]) as model:
        for tensor in model.tensors():
            print(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, tensor.file)
        head = model.numpy("lm_head.weight")
        for tensor, array in model.stream():
            ...
        config = json.loads(model.read("config.json"))

Guarantees: the tag is resolved once. With a policy, signatures come first and no byte of a file is requested
before the whole verdict has passed; without one the caller must say ``unverified=True``. Every byte that is given
out was checked first: by its chunks, whose digests the signed index has (``chunk-verified``), or by the SHA-256
of the whole file where it is read whole (``sha256-verified``). A chunk is not held against the file's SHA-256:
that takes the whole file, which is what pull does. Nothing is written to the disk and nothing is cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from io import BytesIO
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ocimodel.errors import NotFoundError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.model import group
from ocimodel.model.artifact import FileEntry, ModelArtifact
from ocimodel.model.chunkindex import ChunkIndex
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer.chunkread import MAX_WHOLE, ChunkReader, read_in_order
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict, Verified
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.indexing import fetch_index
from ocimodel.verbs.judging import asked_tag, judged_name, signed_manifest
from ocimodel.verbs.tensors import TensorInfo, has_tensors, read_tensors, reader_of
from ocimodel.verbs.unpack import Unverified

if TYPE_CHECKING:
    import numpy as np

Assurance = Literal["chunk-verified", "sha256-verified"]

_NO_CONTEXT: Mapping[str, str] = {}


def open_model(
    reference: Reference | str,
    *,
    policy: TrustPolicy | None = None,
    keys: Sequence[PublicKey | str | PathLike[str]] = (),
    unverified: bool = False,
    access: Access | None = None,
    context: Mapping[str, str] = _NO_CONTEXT,
    now: datetime | None = None,
) -> Model:
    """Judge what ``reference`` names, and open it. To be closed, or used as a context manager.

    Args:
        policy: who must have signed.
        keys: instead of a policy: public keys (or their files), one of which must have signed.
        unverified: open it whoever made it; its bytes are still held against its manifest.
        access: hosts in plain HTTP, and authorities of certificates.
        context: what the signed statements must agree with.

    Raises:
        UsageError: neither a policy, nor a key, nor ``unverified``; or more than one of them.
        Refusal: the policy says no; no byte of a file was requested.
        IntegrityError: the manifest or the chunk index is not what was promised.
        NotFoundError, UnavailableError, AuthenticationError.
    """
    if [policy is not None, bool(keys), unverified].count(True) != 1:
        raise UsageError(
            "say once who must have signed: a policy, or keys, or unverified=True",
            hint='ocimodel.open(REF, keys=["signing.pub"])',
        )
    if keys:
        policy = TrustPolicy.of_keys(_public(key) for key in keys)
    reference = Reference.parse(reference) if isinstance(reference, str) else reference
    resources = ExitStack()
    try:
        store = resources.enter_context(open_store(reference, access or Access(), mirrors=True))
        target = target_of(reference, store)
        subject, raw = store.get_manifest(target)
        verdict: Verdict | None = None
        grant: Verified | Unverified = Unverified(subject=subject)
        if policy is not None:
            asked = judged_name(reference)
            verdict, _, _ = decide(
                store,
                subject,
                raw,
                asked,
                policy,
                now or datetime.now(UTC),
                context,
                tag=asked_tag(reference, target),
            )
            grant = verdict.raise_if_refused()
        if subject.media_type in media.INDEXES:
            raise NotFoundError(
                f"{reference} is an index of several artifacts, not a model", hint="Name one of them by its digest."
            )
        artifact = ModelArtifact.of(signed_manifest(raw, subject.media_type, verdict))
        index = ChunkIndex.named_by(artifact.manifest, fetch_index(store, artifact.manifest))
        return Model(grant, reference, artifact, index, store, verdict, resources)
    except BaseException:
        resources.close()
        raise


class Model:
    """A model in a store. Made by `open_model`; its methods may be called from several threads.

    ``verdict`` is None where it was opened unverified. A tensor is named by its name, and by its file as well
    where two files have one of that name.
    """

    def __init__(
        self,
        grant: Verified | Unverified,
        reference: Reference,
        artifact: ModelArtifact,
        index: ChunkIndex | None,
        store: Store,
        verdict: Verdict | None,
        resources: ExitStack,
    ) -> None:
        if grant.subject.digest != artifact.digest:
            raise ValueError("the grant is for another artifact")
        self.reference = reference.at(artifact.digest)
        self.verdict = verdict
        self._artifact = artifact
        self._index = index
        self._store = store
        self._resources = resources
        self._open = True
        self._readers: dict[str, ChunkReader] = {}
        self._tensors: dict[str, Mapping[str, TensorInfo]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        verified = "unverified" if self.verdict is None else "verified"
        return f"<Model {self.reference} ({verified})>"

    def close(self) -> None:
        """Let go of the connections."""
        self._open = False
        self._resources.close()

    @property
    def digest(self) -> Digest:
        return self._artifact.digest

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The files, and the archives of small files, with their sizes and digests."""
        return self._artifact.files

    # --- tensors --------------------------------------------------------------------------------------------

    def tensors(self, file: str | None = None) -> tuple[TensorInfo, ...]:
        """The tensors of all files, or of one, in the order of their data. Fetches headers, once.

        Raises:
            UsageError: a weight file without a chunk index is too large to be checked as a whole.
            IntegrityError: a header is malformed, bad, or another than the index says.
        """
        entries = [self._entry(file)] if file is not None else [entry for entry in self.files if entry.is_raw]
        return tuple(tensor for entry in entries if has_tensors(entry.path) for tensor in self._of(entry).values())

    def tensor(self, name: str, file: str | None = None) -> TensorInfo:
        """The tensor ``name``. Raises NotFoundError, and UsageError where several files have one."""
        entries = [self._entry(file)] if file is not None else [entry for entry in self.files if entry.is_raw]
        found = [
            tensor
            for entry in entries
            if has_tensors(entry.path) and (tensor := self._of(entry).get(name)) is not None
        ]
        if not found:
            raise NotFoundError(f"{self.reference} has no tensor {name!r}", hint="Model.tensors() lists them.")
        if len(found) > 1:
            places = ", ".join(tensor.file for tensor in found[:4])
            raise UsageError(f"tensor {name!r} is in {places}", hint="Give the file as well.")
        return found[0]

    def assurance(self, file: str) -> Assurance:
        """How the bytes of ``file`` are checked when a tensor of it is read."""
        indexed = self._index is not None and self._entry(file).descriptor.digest in self._index.layers
        return "chunk-verified" if indexed else "sha256-verified"

    def data(self, name: str, file: str | None = None) -> memoryview:
        """The bytes of a tensor as the file has them. Fetches the chunks they lie in, and no others.

        Raises:
            DigestMismatchError: a chunk was bad twice; the message names file and tensor.
        """
        tensor = self.tensor(name, file)
        return self._reader(self._entry(tensor.file)).read(tensor.start, tensor.stop, f"tensor {name}")

    def numpy(self, name: str, file: str | None = None, *, bits: bool = False) -> np.ndarray[Any, Any]:
        """A tensor as an array of its own.

        Args:
            bits: as unsigned integers of the same width (bytes, for quantised blocks), whatever its type.

        Raises:
            UsageError: NumPy is not installed, or has no word for the type and ``bits`` was not given.
        """
        from ocimodel.verbs.arrays import to_numpy

        tensor = self.tensor(name, file)
        return to_numpy(tensor, self.data(name, tensor.file), bits=bits)

    def torch(self, name: str, file: str | None = None) -> Any:
        """A tensor as one of torch, which must be installed."""
        from ocimodel.verbs.arrays import to_torch

        tensor = self.tensor(name, file)
        return to_torch(tensor, self.data(name, tensor.file))

    def stream(
        self,
        files: Iterable[str] | None = None,
        *,
        framework: Literal["numpy", "torch"] = "numpy",
        bits: bool = False,
    ) -> Iterator[tuple[TensorInfo, Any]]:
        """All tensors, in the order in which they lie in the files, while the next are being fetched.

        Memory: the tensor that is being made, and three requests of about 16 MiB. Each tensor is checked before
        it is yielded.
        """
        from ocimodel.verbs import arrays

        for tensor, data in self.stream_bytes(files):
            if framework == "torch":
                yield tensor, arrays.to_torch(tensor, data)
            else:
                yield tensor, arrays.to_numpy(tensor, data, bits=bits)

    def stream_bytes(self, files: Iterable[str] | None = None) -> Iterator[tuple[TensorInfo, memoryview]]:
        """As `stream`, the bytes as the files have them."""
        for file in files if files is not None else [entry.path for entry in self.files if entry.is_raw]:
            entry = self._entry(file)
            if has_tensors(file):
                tensors = tuple(self._of(entry).values())
                ranges = [(tensor.start, tensor.stop) for tensor in tensors]
                yield from zip(tensors, read_in_order(self._reader(entry), ranges), strict=True)

    # --- small files ----------------------------------------------------------------------------------------

    def read(self, path: str, *, limit: int = MAX_WHOLE) -> bytes:
        """A file, whole, by its SHA-256. One within an archive costs the archive.

        Raises:
            UsageError: it, or the archive that it may be in, has more than ``limit`` bytes.
            DigestMismatchError: it is not what the manifest promises.
        """
        entry = self._artifact.file(path)
        if entry is not None:
            return self._read(entry, limit)
        for archive in (entry for entry in self.files if not entry.is_raw):
            with BytesIO(self._read(archive, limit)) as file:
                for member in group.members(file):
                    if member.path == path:
                        return b"".join(member.blocks())
        raise NotFoundError(f"{self.reference} has no file {path!r}", hint="Model.files lists them.")

    def _read(self, entry: FileEntry, limit: int) -> bytes:
        if entry.descriptor.size > limit:
            raise UsageError(
                f"{entry.path} has {entry.descriptor.size} bytes, more than {limit}",
                hint="Give a larger limit, or pull the model.",
            )
        self._check_open()
        return read_blob(self._store, entry.descriptor, limit=limit, what=entry.path)

    # --- the rest is ours -----------------------------------------------------------------------------------

    def _entry(self, path: str) -> FileEntry:
        entry = self._artifact.file(path)
        if entry is None:
            raise NotFoundError(f"{self.reference} has no file {path!r} of its own", hint="Model.files lists them.")
        return entry

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError("the model is closed", hint="Use it within its with block.")

    def _reader(self, entry: FileEntry) -> ChunkReader:
        self._check_open()
        reader = self._readers.get(entry.path)
        if reader is None:
            reader = self._readers[entry.path] = reader_of(self._store, entry, self._index)
        if not reader.is_indexed:
            # It keeps its whole file: one such file at a time is enough.
            for other in list(self._readers.values()):
                if other is not reader:
                    other.forget()
        return reader

    def _of(self, entry: FileEntry) -> Mapping[str, TensorInfo]:
        if entry.path not in self._tensors:
            layer = self._index.layers.get(entry.descriptor.digest) if self._index else None
            found = read_tensors(self._reader(entry), entry.path, layer)
            self._tensors[entry.path] = {tensor.name: tensor for tensor in found}
        return self._tensors[entry.path]


def _public(key: PublicKey | str | PathLike[str]) -> PublicKey:
    from ocimodel.keys.specs import load_public

    return key if isinstance(key, PublicKey) else load_public(str(key))

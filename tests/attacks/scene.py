"""The scene of an attack: a hostile registry with one signed model, and somebody who pulls with the right key.

    scene = Scene(registry, tmp_path)
    scene.push(signer=ALICE)
    … damage it …
    assert scene.pull().code == 12

`Scene.pull` and `Scene.verify` are command lines. `Scene.pulling` and `Scene.verifying` are the verbs, for attacks
that are tried thousands of times. All of them say 0 or the exit code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ocimodel.attest.bundle import public_key_bundle
from ocimodel.attest.envelope import Envelope, pae
from ocimodel.attest.referrer import attach
from ocimodel.errors import OcimodelError
from ocimodel.keys.signer import LocalSigner, Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.pull import pull
from ocimodel.verbs.push import push
from ocimodel.verbs.verify import verify_artifact
from tests.commands import Ran, run
from tests.hostile import Document, HostileRegistry, Repository
from tests.signers import ALICE, attachment

NAME = "models/tiny"
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "weights.bin": bytes(range(1, 97)),
    "README.md": b"# Tiny\n",
}


def write_model(directory: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def files_of(directory: Path) -> dict[str, bytes]:
    """Every regular file below, by its relative name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def code_of(act: Callable[[], object]) -> int:
    """What the command would exit with. A bug (anything but our own errors) is raised."""
    try:
        act()
    except OcimodelError as error:
        return error.exit_code
    return 0


class Scene:
    """``place`` is a directory of the test's own; what is pulled goes to ``place/out``."""

    def __init__(self, registry: HostileRegistry, place: Path) -> None:
        self.registry = registry
        self.place = place
        self.out = place / "out"
        self.reference = Reference.parse(f"{registry.host}/{NAME}:v1")
        self.access = Access(plain_http=frozenset({registry.host}))

    @property
    def repository(self) -> Repository:
        return self.registry.repository(NAME)

    # Packing: honestly, or by hand

    def push(
        self, files: Mapping[str, bytes] = FILES, *, signer: Signer | None = ALICE, tag: str = "v1", **more: Any
    ) -> Digest:
        """Push a model as the verb does it; the digest of its manifest."""
        source = write_model(self.place / f"model-{tag}", files)
        return push(source, self.reference.tagged(tag), access=self.access, signer=signer, **more).digest

    def layer(self, data: bytes, name: str | None = None, media_type: str = "", **annotations: str) -> Descriptor:
        """Store a blob; its descriptor, with both annotations of a path."""
        self.repository.add_blob(data)
        named = {media.FILEPATH: name, media.TITLE: name} if name is not None else {}
        return Descriptor(
            media_type=media_type or f"{media.LAYER_PREFIX}weight.v1.raw",
            digest=Digest.of(data),
            size=len(data),
            annotations={**named, **annotations},
        )

    def put_layers(self, layers: Iterable[Descriptor], *, signer: Signer | None = ALICE) -> Digest:
        """Tag v1 is now a manifest of these very layers, rightly signed: the packer is the attacker."""
        config = self.layer(b"{}", media_type=media.MODEL_CONFIG)
        plain = Descriptor(media_type=config.media_type, digest=config.digest, size=config.size)
        return self.put(
            manifest_bytes(config=plain, layers=list(layers), artifact_type=media.MODEL_MANIFEST), signer
        )

    def put(self, raw: bytes, signer: Signer | None = ALICE, media_type: str = media.OCI_MANIFEST) -> Digest:
        """Tag v1 is now these very bytes, signed."""
        self.repository.manifests[str(Digest.of(raw))] = Document(raw, media_type)
        self.repository.tags["v1"] = str(Digest.of(raw))
        subject = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
        if signer is not None:
            self.attach(signer, subject)
        return subject.digest

    def attach(self, signer: Signer, subject: Descriptor, **how: Any) -> Digest:
        """Attach a signature, with whatever `tests.signers.attachment` can make wrong with it."""
        made = attachment(signer, about=how.pop("about", subject), to=subject, **how)
        self.repository.add_blob(made.bundle)
        self.repository.add_blob(media.EMPTY_JSON)
        self.repository.add_manifest(made.manifest)
        return made.descriptor.digest

    def attach_unchecked(self, signer: Signer, statement: bytes) -> Digest:
        """Attach a statement that our own code would not sign."""
        envelope = Envelope(payload=statement, signature=signer.sign(pae(media.INTOTO_PAYLOAD, statement)))
        bundle = public_key_bundle(envelope, signer.public.hint)
        return self.attach_bundle(bundle, keyid=signer.public.keyid)

    def attach_bundle(self, bundle: bytes, *, keyid: str) -> Digest:
        """Attach these very bytes as a signature of the model."""
        made = attach(bundle, self.subject(), predicate_type=media.COSIGN_SIGN, keyid=keyid)
        self.repository.add_blob(made.bundle)
        self.repository.add_blob(media.EMPTY_JSON)
        self.repository.add_manifest(made.manifest)
        return made.descriptor.digest

    # What there is

    def subject(self, tag: str = "v1") -> Descriptor:
        digest = self.repository.tags[tag]
        document = self.repository.manifests[digest]
        return Descriptor(media_type=document.media_type, digest=Digest.parse(digest), size=len(document.raw))

    def manifest(self, digest: str | None = None) -> dict[str, Any]:
        """The model's manifest, or another one, decoded."""
        document = self.repository.manifests[digest or self.repository.tags["v1"]]
        value = json.loads(document.raw)
        assert isinstance(value, dict)
        return value

    def layers(self) -> dict[str, str]:
        """Digests of the model's layers, by the path that each has."""
        return {layer["annotations"][media.FILEPATH]: layer["digest"] for layer in self.manifest()["layers"]}

    def signature(self) -> str:
        """The manifest of the one signature."""
        listed = self.repository.referrers[str(self.subject().digest)]
        (digest,) = (
            digest for digest in listed if self.manifest(digest).get("artifactType") == media.SIGSTORE_BUNDLE
        )
        return digest

    def bundle(self) -> str:
        digest: str = self.manifest(self.signature())["layers"][0]["digest"]
        return digest

    # The victim

    def public(self, signer: LocalSigner = ALICE) -> Path:
        path = self.place / f"{signer.public.label}.pub"
        path.write_bytes(signer.public.to_pem())
        return path

    def private(self, signer: LocalSigner = ALICE) -> Path:
        path = self.place / f"{signer.public.label}.key"
        path.write_bytes(signer.private_pem(None))
        path.chmod(0o600)
        return path

    def pull(self, *more: str | Path, key: LocalSigner | None = ALICE, tag: str = "v1") -> Ran:
        """``ocimodel pull`` of the tag into `out`, with the key unless it is None."""
        keys = ("--key", self.public(key)) if key is not None else ()
        return run("pull", str(self.reference.tagged(tag)), "-o", self.out, *keys, *more)

    def verify(self, *more: str | Path, key: LocalSigner | None = ALICE, of: str | Path | None = None) -> Ran:
        """``ocimodel verify`` of the tag, or of a directory."""
        keys = ("--key", self.public(key)) if key is not None else ()
        return run("verify", of or str(self.reference), *keys, *more)

    def pulling(self, destination: Path | None = None, *, signer: Signer | None = ALICE) -> int:
        policy = TrustPolicy.of_keys([signer.public]) if signer is not None else None
        where = destination or self.out
        return code_of(lambda: pull(self.reference, where, policy=policy, access=self.access))

    def verifying(self, *, signer: Signer = ALICE, full: bool = False) -> int:
        policy = TrustPolicy.of_keys([signer.public])
        return code_of(lambda: verify_artifact(self.reference, policy=policy, access=self.access, full=full))

    def nothing_arrived(self) -> bool:
        """Nothing stands at the destination, and nothing that any other program would find beside it."""
        left = [name for name in os.listdir(self.out.parent) if not name.startswith((".ocimodel-tmp-", "model-"))]
        return not os.path.lexists(self.out) and not any(name.startswith("out") for name in left)

    def asked_for(self, *paths: str) -> int:
        """How many requests there were for the bytes of these layers; of all files where none is named."""
        known = self.layers()
        wanted = {known[path] for path in paths or (name for name in known if name != media.PROVENANCE_PATH)}
        return sum(
            request.target in wanted and request.method == "GET" for request in self.registry.seen(route="blob")
        )

"""Media types, annotation keys and type URIs: each name stands here and nowhere else.

Those of ours never change meaning: annotation keys begin with ``io.github.ocimodel.``, URIs with
``https://ocimodel.github.io/spec/v1/``.
"""

from __future__ import annotations

# OCI image-spec v1.1
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY_JSON = b"{}"
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
REF_NAME = "org.opencontainers.image.ref.name"

# CNCF ModelPack model-spec v0.0.7
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
LAYER_PREFIX = "application/vnd.cncf.model."

# Signatures and attestations
SIGSTORE_BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_CONTENT = "dev.sigstore.bundle.content"
BUNDLE_PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"
BUNDLE_DSSE = "dsse-envelope"
INTOTO_PAYLOAD = "application/vnd.in-toto+json"
STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
NOTARY_SIGNATURE = "application/vnd.cncf.notary.signature"
NOTARY_JWS = "application/jose+json"
NOTARY_COSE = "application/cose"
NOTARY_ENVELOPES = frozenset({NOTARY_JWS, NOTARY_COSE})
NOTARY_PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
NOTARY_PREFIX = "io.cncf.notary"
NOTARY_THUMBPRINTS = "io.cncf.notary.x509chain.thumbprint#S256"
COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
COSIGN_ATTESTATIONS = "application/vnd.dev.cosign.artifact.att.v1+json"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"
COSIGN_CERTIFICATE = "dev.sigstore.cosign/certificate"
COSIGN_CHAIN = "dev.sigstore.cosign/chain"
COSIGN_LOG = "dev.sigstore.cosign/bundle"
COSIGN_TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
COSIGN_PREDICATE_TYPE = "predicateType"
OMS_SIGNATURE = "https://model_signing/signature/v1.0"
BUNDLE_MESSAGE = "message-signature"
SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"
SLSA_SUMMARY = "https://slsa.dev/verification_summary/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

# Ours
PREFIX = "io.github.ocimodel."
KEY_ID = PREFIX + "keyid"
SUBJECT_HINT = PREFIX + "subject"
CHUNK_INDEX_ANNOTATION = PREFIX + "chunk-index"
GROUP = PREFIX + "group"
CLAIM_EXPIRES = PREFIX + "expires"
CLAIM_ENVIRONMENT = PREFIX + "environment"
CLAIM_SEQUENCE = PREFIX + "sequence"
CLAIM_CHANNEL = PREFIX + "channel"
PROVENANCE_LAYER = "application/vnd.ocimodel.provenance.v1.raw"
PROVENANCE_PATH = ".ocimodel/provenance.intoto.json"
CHUNK_INDEX = "application/vnd.ocimodel.chunk-index.v1+json"
POLICY = "application/vnd.ocimodel.policy.v1+json"
URI = "https://ocimodel.github.io/spec/v1/"
OMS_MANIFEST = URI + "manifest"
BUILD_TYPE = URI + "buildtypes/training"
BUILDER_LOCAL = URI + "builders/local"
CONTRIBUTORS = URI + "contributors"
EXPERIMENT = URI + "experiment"
METRICS = URI + "metrics"
SETTINGS = URI + "settings"
CARD = URI + "card"
APPROVAL = URI + "approval"
EVALUATION = URI + "evaluation"
SCAN = URI + "scan"
FINDINGS = URI + "findings"
VERIFIER_PROMOTE = URI + "verifiers/promote"
SUMMARY_REASON = URI + "summary/reason"
SUMMARY_VERSIONS = URI + "summary/versions"

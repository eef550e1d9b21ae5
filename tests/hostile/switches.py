"""Ways in which a registry may differ from the specification, or lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True, kw_only=True)
class Switches:
    """The defaults are a faithful, pedantic registry with the referrers API. May be changed while it runs."""

    # Referrers
    referrers: Literal["api", "404", "400", "303", "405", "html"] = "api"
    oci_subject: bool | None = None
    """Whether PUT answers OCI-Subject; None: as the API is. True without the API loses referrers."""
    filter_referrers: bool = True
    strip_referrers: bool = False
    hide_newest: int = 0
    fallback_is_subject: bool = False
    """GitLab: the tag sha256-<hex> answers with the subject itself."""

    # Lists
    page_size: int | None = None
    links: Literal["relative", "absolute", "loop", "cross-host"] = "relative"
    null_tags: bool = False

    # Manifests
    manifest_limit: int = 4 * 1024 * 1024
    check_blobs: bool = True

    # Bodies
    digest_header: Literal["right", "missing", "wrong"] = "right"
    ranges: Literal["yes", "closed", "ignored", "wrong-start", "wrong-total", "short"] = "yes"
    gzip: bool = False
    warning: str | None = None
    ahead: float = 0
    """Seconds by which its clock is ahead of ours."""

    # Blobs elsewhere
    redirect_blobs: bool = False
    signed_uses: int | None = None
    """How often a signed URL works; after that it is expired."""
    signed_seconds: float | None = None
    """For how long it works."""
    expired_status: int = 403
    """What is said of a signed URL that expired (Amazon: 400 or 403)."""
    redirect_ranges: bool = True
    """False: a request for a range is answered by the registry itself (zot)."""

    # Uploads
    location: Literal["relative", "absolute", "cross-host"] = "relative"
    strict_location: bool = True
    """A Location's query comes back byte for byte, or the upload is refused (oras encodes it anew)."""
    bare_location: bool = False
    """No query in the Location; otherwise one that does not survive being decoded and encoded again."""
    mount: Literal["yes", "no", "error"] = "yes"
    single_post: bool = True
    chunks: bool = True
    """False: PATCH with Content-Range is refused (Google Artifact Registry)."""
    streams: bool = True
    """False: PATCH without Content-Range is refused."""
    max_patch: int | None = None
    """Larger PATCH bodies are 416 (GitHub: 4 MiB)."""
    max_put: int | None = None
    """Larger PUT bodies are 413 (proxies)."""
    max_chunk: int | None = None
    """Larger PATCH bodies with a Content-Range are 413; without one any length is taken (Amazon)."""
    min_chunk: int | None = None
    """What OCI-Chunk-Min-Length says; after a smaller piece no other is taken."""
    last_chunk_only: bool = False
    """Each PATCH with a Content-Range replaces what was there (Artifactory, as it was seen)."""
    patch_status: int = 202
    stale_range: bool = False
    """Range stays what it was after the first chunk (Amazon)."""
    keep_broken_sessions: bool = True
    """False: an upload that breaks off loses its session (zot)."""

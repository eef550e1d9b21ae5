"""The endpoints of distribution-spec v1.1, with the switches built in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.hostile.auth import Bearer
from tests.hostile.messages import Body, Request, Response, error
from tests.hostile.state import OCI_INDEX, Document, Repository, digest_of, index_of
from tests.hostile.uploads import Session

if TYPE_CHECKING:
    from tests.hostile.registry import HostileRegistry

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_ROUTES = (
    ("ping", re.compile(r"/v2/?()()")),
    ("catalog", re.compile(r"/v2/_catalog()()")),
    ("token", re.compile(r"/token()()")),
    ("uploads", re.compile(rf"/v2/({_NAME})/blobs/uploads/?()")),
    ("upload", re.compile(rf"/v2/({_NAME})/blobs/uploads/([A-Za-z0-9_-]+)")),
    ("blob", re.compile(rf"/v2/({_NAME})/blobs/({_DIGEST})")),
    ("manifest", re.compile(rf"/v2/({_NAME})/manifests/({_DIGEST}|{_TAG})")),
    ("referrers", re.compile(rf"/v2/({_NAME})/referrers/({_DIGEST})")),
    ("tags", re.compile(rf"/v2/({_NAME})/tags/list()")),
    ("storage", re.compile(rf"/storage/({_NAME})/({_DIGEST})")),
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = re.compile(r"(\d+)-(\d+)")

Blocks = Iterator[bytes]


def route_of(path: str) -> tuple[str, str, str]:
    """The route, the repository and the target of a path."""
    for name, pattern in _ROUTES:
        match = pattern.fullmatch(path)
        if match:
            return name, match[1], match[2]
    return "unknown", "", ""


class Routes:
    """Answers requests out of the registry's state."""

    def __init__(self, registry: HostileRegistry) -> None:
        self._registry = registry

    def answer(self, request: Request, blocks: Blocks) -> Response:
        registry = self._registry
        if request.route == "storage":
            return self._storage(request)
        if request.route == "token":
            body = b"".join(blocks)
            return registry.auth.issue(request, body) if isinstance(registry.auth, Bearer) else error(404, "NO")
        if request.server == "storage" and "authorization" in request.headers:
            return error(400, "DENIED", "credentials of another host")
        if request.server == "registry" and registry.auth is not None:
            refused = registry.auth.admits(request, "pull" if request.method in ("GET", "HEAD") else "push")
            if refused:
                return refused
        endpoint: Callable[[Request, Blocks], Response] | None = getattr(
            self, f"_{request.method.lower()}_{request.route}", None
        )
        if endpoint is None:
            return error(404 if request.route == "unknown" else 405, "UNSUPPORTED")
        return endpoint(request, blocks)

    # Manifests

    def _get_ping(self, _request: Request, _blocks: Blocks) -> Response:
        headers = {"Docker-Distribution-API-Version": "registry/2.0", "Content-Type": "application/json"}
        return Response(200, headers, b"{}")

    def _get_manifest(self, request: Request, _blocks: Blocks) -> Response:
        repository = self._repository(request)
        digest = repository.resolve(request.target)
        if digest is None and self._registry.switches.fallback_is_subject:
            digest = repository.resolve(request.target.replace("-", ":", 1))
        if digest is None:
            return error(404, "MANIFEST_UNKNOWN", request.target)
        document = repository.manifests[digest]
        accepted = request.headers.get("accept", "*/*")
        if document.media_type not in accepted and "*/*" not in accepted:
            return error(404, "MANIFEST_UNKNOWN", "the Accept header does not allow it")
        headers = {"Content-Type": document.media_type, **self._named(digest)}
        return self._encoded(Response(200, headers, document.raw))

    _head_manifest = _get_manifest

    def _put_manifest(self, request: Request, blocks: Blocks) -> Response:
        switches = self._registry.switches
        raw = b"".join(blocks)
        if len(raw) > switches.manifest_limit:
            return error(413, "SIZE_INVALID", "the manifest is too large")
        kind = request.headers.get("content-type", "")
        try:
            document = json.loads(raw)
            declared = document.get("mediaType", kind)
        except (ValueError, AttributeError):
            return error(400, "MANIFEST_INVALID", "not JSON")
        if declared != kind:
            return error(400, "MANIFEST_INVALID", f"Content-Type is {kind!r}, mediaType {declared!r}")
        digest = digest_of(raw)
        if ":" in request.target and digest_of(raw, request.target.partition(":")[0]) != request.target:
            return error(400, "DIGEST_INVALID", f"the bytes are {digest}")
        with self._registry.lock:
            repository = self._registry.repository(request.repository)
            missing = _missing(repository, document) if switches.check_blobs else None
            if missing:
                return error(400, "MANIFEST_BLOB_UNKNOWN", missing)
            repository.add_manifest(raw, kind, *([] if ":" in request.target else [request.target]))
        headers = {"Location": f"/v2/{request.repository}/manifests/{digest}", **self._named(digest)}
        subject = document.get("subject")
        says = switches.oci_subject if switches.oci_subject is not None else switches.referrers == "api"
        if isinstance(subject, dict) and says:
            headers["OCI-Subject"] = subject["digest"]
        return Response(201, headers)

    def _delete_manifest(self, request: Request, _blocks: Blocks) -> Response:
        with self._registry.lock:
            repository = self._repository(request)
            if ":" not in request.target:
                found = repository.tags.pop(request.target, None)
                return Response(202) if found else error(404, "MANIFEST_UNKNOWN")
            if repository.manifests.pop(request.target, None) is None:
                return error(404, "MANIFEST_UNKNOWN")
            repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != request.target}
            for listed in repository.referrers.values():
                listed.pop(request.target, None)
        return Response(202)

    # Lists

    def _get_referrers(self, request: Request, _blocks: Blocks) -> Response:
        switches = self._registry.switches
        if switches.referrers == "303":
            return Response(303, {"Location": self._registry.storage_url + "/login"})
        if switches.referrers == "html":
            return Response(200, {"Content-Type": "text/html"}, b"<html><title>Log in</title></html>")
        if switches.referrers != "api":
            return error(int(switches.referrers), "UNSUPPORTED")
        with self._registry.lock:
            entries = list(self._repository(request).referrers.get(request.target, {}).values())
        if switches.strip_referrers:
            entries = []
        if switches.hide_newest:
            entries = entries[: -switches.hide_newest]
        headers = {"Content-Type": OCI_INDEX}
        kind = request.parameter("artifactType")
        if kind and switches.filter_referrers:
            entries = [entry for entry in entries if entry.get("artifactType") == kind]
            headers["OCI-Filters-Applied"] = "artifactType"
        page, link = self._page(request, entries, self._start(request, len(entries)))
        return self._encoded(Response(200, headers | link, index_of(page)))

    def _get_catalog(self, request: Request, _blocks: Blocks) -> Response:
        with self._registry.lock:
            names = sorted(self._registry.repositories)
        page, link = self._page(request, names, self._start(request, len(names)))
        return Response(
            200, {"Content-Type": "application/json"} | link, json.dumps({"repositories": page}).encode()
        )

    def _get_tags(self, request: Request, _blocks: Blocks) -> Response:
        with self._registry.lock:
            known = request.repository in self._registry.repositories
            tags = sorted(self._repository(request).tags)
        if not known:
            return error(404, "NAME_UNKNOWN", request.repository)
        last = request.parameter("last")
        start = sum(tag <= last for tag in tags) if last and not last.isdigit() else self._start(request, len(tags))
        page, link = self._page(request, tags, start)
        listed = None if self._registry.switches.null_tags else page
        body = json.dumps({"name": request.repository, "tags": listed}).encode()
        return Response(200, {"Content-Type": "application/json"} | link, body)

    def _start(self, request: Request, count: int) -> int:
        last = request.parameter("_at") or "0"
        return min(int(last), count) if last.isdigit() else 0

    def _page(self, request: Request, items: list[Any], start: int) -> tuple[list[Any], dict[str, str]]:
        switches = self._registry.switches
        wanted = request.parameter("n")
        size = switches.page_size or (int(wanted) if wanted and wanted.isdigit() else len(items)) or 1
        if switches.links == "loop":
            start = 0
        stop = start + size
        if stop >= len(items) and switches.links != "loop":
            return items[start:], {}
        query = f"_at={stop}" + "".join(
            f"&{name}={quote(values[0])}" for name, values in request.query.items() if name != "_at"
        )
        base = {"absolute": self._registry.url, "cross-host": self._registry.storage_url}.get(switches.links, "")
        return items[start:stop], {"Link": f'<{base}{request.path}?{query}>; rel="next"'}

    # Blobs

    def _get_blob(self, request: Request, _blocks: Blocks) -> Response:
        data = self._repository(request).blobs.get(request.target)
        if data is None:
            return error(404, "BLOB_UNKNOWN", request.target)
        switches = self._registry.switches
        away = switches.redirect_blobs and (switches.redirect_ranges or "range" not in request.headers)
        if away and request.method == "GET":
            return Response(307, {"Location": self._registry.sign(request.repository, request.target)})
        return self._ranged(request, data)

    _head_blob = _get_blob

    def _storage(self, request: Request) -> Response:
        if "authorization" in request.headers:
            return error(400, "DENIED", "only one way to authenticate is allowed")
        if not self._registry.use(request.parameter("signature") or ""):
            status = self._registry.switches.expired_status
            return Response(status, {"Content-Type": "application/xml"}, b"<Error>expired</Error>")
        data = self._repository(request).blobs.get(request.target)
        return self._ranged(request, data) if data is not None else Response(404)

    def _ranged(self, request: Request, data: Body) -> Response:
        mode = self._registry.switches.ranges
        kind = {"Content-Type": "application/octet-stream", **self._named(request.target)}
        wanted = request.headers.get("range")
        if mode != "ignored":
            kind["Accept-Ranges"] = "bytes"
        if wanted is None or mode == "ignored" or request.method == "HEAD":
            return self._encoded(Response(200, kind, data))
        match = _RANGE.fullmatch(wanted)
        span = _span(match, len(data)) if match and (mode != "closed" or (match[1] and match[2])) else None
        if span is None:
            return Response(416, {"Content-Range": f"bytes */{len(data)}"})
        start, stop = span
        body = memoryview(data)[start:stop]
        told = start + 1 if mode == "wrong-start" else start
        total = len(data) + 1 if mode == "wrong-total" else len(data)
        if mode == "short":
            body = body[: len(body) // 2]
            stop = start + len(body)
        headers = {**kind, "Content-Range": f"bytes {told}-{stop - 1}/{total}"}
        return Response(206, headers, body)

    def _delete_blob(self, request: Request, _blocks: Blocks) -> Response:
        with self._registry.lock:
            found = self._repository(request).blobs.pop(request.target, None)
        return Response(202) if found is not None else error(404, "BLOB_UNKNOWN")

    # Uploads

    def _post_uploads(self, request: Request, blocks: Blocks) -> Response:
        switches = self._registry.switches
        mount, source = request.parameter("mount"), request.parameter("from")
        if mount and switches.mount == "error":
            return error(500, "UNKNOWN", "mounting failed")
        if mount and source and switches.mount == "yes":
            with self._registry.lock:
                data = self._registry.repository(source).blobs.get(mount)
                if data is not None:
                    self._registry.repository(request.repository).blobs[mount] = data
                    return Response(201, self._located(request, mount))
        session = Session(request.repository)
        self._registry.sessions[session.id] = session
        digest = request.parameter("digest")
        if digest and switches.single_post:
            self._receive(session, blocks)
            return self._commit(request, session, digest)
        if any(blocks):
            return error(400, "BLOB_UPLOAD_INVALID", "bytes where none belong")
        return Response(202, self._progress(session))

    def _patch_upload(self, request: Request, blocks: Blocks) -> Response:
        switches = self._registry.switches
        session, refused = self._session(request)
        if session is None:
            return refused
        with session.lock:
            chunk = request.headers.get("content-range")
            if not (switches.chunks if chunk else switches.streams):
                return error(405, "UNSUPPORTED", "no such uploads here")
            problem = self._misplaced(request, session, chunk)
            if problem:
                return problem
            length = int(request.headers.get("content-length", "0"))
            if switches.max_patch is not None and length > switches.max_patch:
                return error(416, "BLOB_UPLOAD_INVALID", "request body is too large")
            if chunk and switches.max_chunk is not None and length > switches.max_chunk:
                return error(413, "SIZE_INVALID", "the part is too large")
            if chunk and session.ended:
                return error(400, "SIZE_INVALID", "a part before this one is too small")
            session.ended = bool(chunk) and switches.min_chunk is not None and length < switches.min_chunk
            if chunk and switches.last_chunk_only:
                session.forget()
            self._receive(session, blocks)
            return Response(switches.patch_status, self._progress(session))

    def _put_upload(self, request: Request, blocks: Blocks) -> Response:
        switches = self._registry.switches
        session, refused = self._session(request)
        if session is None:
            return refused
        digest = request.parameter("digest")
        if digest is None:
            return error(400, "DIGEST_INVALID", "no digest")
        if switches.max_put is not None and int(request.headers.get("content-length", "0")) > switches.max_put:
            return error(413, "SIZE_INVALID", "too large")
        with session.lock:
            problem = self._misplaced(request, session, request.headers.get("content-range"))
            if problem:
                return problem
            self._receive(session, blocks)
            return self._commit(request, session, digest)

    def _get_upload(self, request: Request, _blocks: Blocks) -> Response:
        session = self._registry.sessions.get(request.target)
        if session is None or session.repository != request.repository:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        with session.lock:
            return Response(204, self._progress(session))

    def _delete_upload(self, request: Request, _blocks: Blocks) -> Response:
        found = self._registry.sessions.pop(request.target, None)
        return Response(204) if found else error(404, "BLOB_UPLOAD_UNKNOWN")

    def _session(self, request: Request) -> tuple[Session | None, Response]:
        session = self._registry.sessions.get(request.target)
        if session is None or session.repository != request.repository:
            return None, error(404, "BLOB_UPLOAD_UNKNOWN")
        return session, Response(0)

    def _misplaced(self, request: Request, session: Session, chunk: str | None) -> Response | None:
        """416 where the Location is an old one, or the chunk does not begin where the last one ended."""
        issued = self._query(session)
        stale = bool(issued) and request.parameter("_state") != session.state
        strict = self._registry.switches.strict_location
        if issued and strict and not stale and request.raw_query.partition("&digest=")[0] != issued:
            return error(400, "BLOB_UPLOAD_INVALID", "the query of the Location was altered")
        match = _CHUNK.fullmatch(chunk) if chunk else None
        if chunk and match is None:
            return error(400, "BLOB_UPLOAD_INVALID", f"Content-Range {chunk!r}")
        length = int(request.headers.get("content-length", "-1"))
        apart = match is not None and int(match[1]) != session.offset
        if match is not None and length >= 0 and int(match[2]) - int(match[1]) + 1 != length:
            return error(400, "SIZE_INVALID", "Content-Range and Content-Length differ")
        return Response(416, self._progress(session)) if stale or apart else None

    def _receive(self, session: Session, blocks: Blocks) -> None:
        try:
            session.take(blocks)
        except OSError:
            if not self._registry.switches.keep_broken_sessions:
                self._registry.sessions.pop(session.id, None)
            raise

    def _commit(self, request: Request, session: Session, digest: str) -> Response:
        self._registry.sessions.pop(session.id, None)
        actual, data = session.finish()
        if digest.startswith("sha512:"):
            actual = digest_of(data, "sha512")
        if actual != digest:
            return error(400, "DIGEST_INVALID", f"the bytes are {actual}")
        with self._registry.lock:
            self._registry.repository(session.repository).blobs[digest] = data
        return Response(201, self._located(request, digest))

    def _located(self, request: Request, digest: str) -> dict[str, str]:
        return {"Location": f"/v2/{request.repository}/blobs/{digest}", **self._named(digest)}

    def _progress(self, session: Session) -> dict[str, str]:
        switches = self._registry.switches
        base = {"absolute": self._registry.url, "cross-host": self._registry.storage_url}.get(switches.location, "")
        query = self._query(session)
        end = session.first_chunk if switches.stale_range else session.offset
        headers = {
            "Location": f"{base}/v2/{session.repository}/blobs/uploads/{session.id}"
            + (f"?{query}" if query else ""),
            "Range": f"0-{max(0, end - 1)}",
            "Docker-Upload-UUID": session.id,
        }
        if switches.min_chunk is not None:
            headers["OCI-Chunk-Min-Length"] = str(switches.min_chunk)
        return headers

    def _query(self, session: Session) -> str:
        if self._registry.switches.bare_location:
            return ""
        return f"_state={session.state}&_sig=a%2Fb+c%3D%3D&empty=&dup=1&dup=2"

    # Common

    def _repository(self, request: Request) -> Repository:
        return self._registry.repositories.get(request.repository) or Repository()

    def _named(self, digest: str) -> dict[str, str]:
        mode = self._registry.switches.digest_header
        if mode == "missing":
            return {}
        return {"Docker-Content-Digest": digest if mode == "right" else digest_of(digest.encode())}

    def _encoded(self, response: Response) -> Response:
        if self._registry.switches.gzip:
            import gzip

            response.body = gzip.compress(bytes(response.body), 1)
            response.headers["Content-Encoding"] = "gzip"
        return response


def _span(match: re.Match[str], size: int) -> tuple[int, int] | None:
    first, last = match[1], match[2]
    if not first:
        return (max(0, size - int(last)), size) if last and int(last) and size else None
    start = int(first)
    stop = min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None


def _missing(repository: Repository, document: dict[str, Any]) -> str | None:
    """The first digest that a manifest needs and the repository lacks; a subject may come later."""
    with suppress(KeyError, TypeError):
        for child in document.get("manifests", []):
            if child["digest"] not in repository.manifests:
                return str(child["digest"])
        for part in [document["config"], *document.get("layers", [])]:
            if part["digest"] not in repository.blobs:
                return str(part["digest"])
    return None


__all__ = ["Document", "Routes", "route_of"]

"""The repositories of a registry, by ``/v2/_catalog``: the specification reserves it, and most registries have it.

Guarantees: names come as the pages do; what is no name of a repository is left out, for nothing could be asked of
it. Pages and bytes are capped. A registry that lists nothing to anybody (Docker Hub) is an error that says so,
never an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator

from ocimodel import jsonio
from ocimodel.errors import FormatError, NotFoundError, RejectedError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci.reference import Reference
from ocimodel.stores.http import listing
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Request, Transport
from ocimodel.stores.opening import Access
from ocimodel.stores.registry import api_name

_PAGE = 1000
_SCOPE = "registry:catalog:*"
_HINT = "Name the repositories, or list them in a file: --from-file FILE."


def repositories(host: str, access: Access) -> Iterator[Reference]:
    """Every repository of ``host`` that whoever asks may see.

    Raises:
        NotFoundError: the registry does not list its repositories.
        FormatError: there are more than are read, or the list is malformed.
        UnavailableError, AuthenticationError: from the registry.
    """
    transport = Transport(plain_http=access.plain_http, ca_file=access.ca_file)
    try:
        at = Repository(transport, *api_name(host, "_catalog"))
        request = Request(method="GET", url=f"{at.origin}/v2/_catalog?n={_PAGE}", scopes=(_SCOPE,))
        for _, raw in listing.follow(at, request, f"the list of the repositories of {host}"):
            found = Node(jsonio.loads(raw, limit=len(raw), what="the list of repositories")).get("repositories")
            # Some write null for an empty list.
            for name in (item.string(limit=1024) for item in (found.items() if found.value is not None else ())):
                try:
                    yield Reference.parse(f"{host}/{name}")
                except UsageError:
                    continue
    except (NotFoundError, RejectedError) as error:
        raise NotFoundError(f"{host} does not list its repositories ({error.message})", hint=_HINT) from None
    except listing.TooMuch:
        raise FormatError(f"{host} has more repositories than can be listed", hint=_HINT) from None
    finally:
        transport.close()

"""Which proxy the environment names for a host: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

Guarantees: loopback hosts never go through one. ``NO_PROXY`` takes names, their subdomains, ports and ``*`` as
`urllib` reads them, and networks (``10.0.0.0/8``) for hosts that are written as addresses, as clusters set them;
names are not resolved for that.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.request import getproxies, proxy_bypass

from ocimodel.stores.http.origins import Origin, address, is_loopback


def proxy_for(origin: Origin) -> str:
    """The URL of the proxy, or ''."""
    if is_loopback(origin.host) or proxy_bypass(origin.netloc):
        return ""
    proxies = getproxies()
    if _in_a_network(origin.host, proxies.get("no", "")):
        return ""
    found = proxies.get(origin.scheme) or proxies.get("all") or ""
    return found if "://" in found or not found else f"http://{found}"


def _in_a_network(host: str, listed: str) -> bool:
    found = address(host) if "/" in listed else None
    for entry in listed.split(",") if found is not None else ():
        with suppress(ValueError):
            if found in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False

"""What the environment says of proxies."""

from __future__ import annotations

import pytest

from ocimodel.stores.http.origins import Origin
from ocimodel.stores.http.proxies import proxy_for


@pytest.mark.parametrize(
    ("no_proxy", "url", "through"),
    [
        ("", "https://registry.example", True),
        ("", "https://127.0.0.1:5000", False),
        ("registry.example", "https://registry.example:5000", False),
        (".example", "https://registry.example", False),
        ("other.example", "https://registry.example", True),
        ("*", "https://registry.example", False),
        ("10.0.0.0/8", "https://10.1.2.3:5000", False),
        ("192.168.0.0/16, 10.0.0.0/8", "https://10.1.2.3", False),
        ("10.0.0.0/8", "https://11.1.2.3", True),
        ("10.0.0.7/8", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]:5000", False),
        ("fd00::/8", "https://10.1.2.3", True),
        ("10.0.0.0/99,a/b", "https://10.1.2.3", True),
        ("0.0.0.0/0", "https://registry.example", True),
    ],
)
def test_who_is_asked_directly(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, through: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_for(Origin.of(url)) == ("http://proxy.example:3128" if through else "")

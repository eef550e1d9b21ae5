"""PKCS #11 URIs: what RFC 7512 allows, what is refused, and that a PIN in one is never repeated."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from ocimodel.errors import UsageError
from ocimodel.keys.custody import uri

SOFTTOKEN = (
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
    "object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial="
)
"""RFC 7512, section 3."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pkcs11:", {}),
        ("pkcs11:token=ci;object=key", {"token": "ci", "object": "key"}),
        ("pkcs11://token=ci", {"token": "ci"}),
        (
            SOFTTOKEN,
            {
                "token": "The Software PKCS#11 Softtoken",
                "manufacturer": "Snake Oil, Inc.",
                "model": "1.0",
                "object": "my-certificate",
                "identifier": bytes.fromhex("69953e5cf4bdec91"),
                "serial": "",
            },
        ),
        ("pkcs11:slot-id=327;id=a%01", {"slot": 327, "identifier": b"a\x01"}),
        (
            "pkcs11:?pin-source=file:/etc/token_pin&module-name=softhsm2",
            {"pin_source": "/etc/token_pin", "module_name": "softhsm2"},
        ),
        (
            "pkcs11:?pin-source=file:///etc/pin&module-path=/l.so",
            {"pin_source": "/etc/pin", "module_path": "/l.so"},
        ),
        ("pkcs11:?pin-source=pin.txt", {"pin_source": "pin.txt"}),
    ],
)
def test_what_a_uri_says(text: str, expected: dict[str, Any]) -> None:
    said = {name: value for name, value in asdict(uri.parse(text)).items() if value is not None}
    assert said == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pkcs11:?pin-value=hunter2", "a PIN in the URI"),
        ("pkcs11:token=t?pin-value=hunter2&pin-value=hunter2", "pin-value stands twice"),
        ("pkcs11:pin=hunter2", "unknown attribute pin in"),
        ("pkcs11:hunter2", "unknown attribute in"),
        ("pkcs11:token=t;token=hunter2", "token stands twice"),
        ("pkcs11:token", "token in the URI has no value"),
        ("pkcs11:object=100%hunter2", "object in the URI has no value, or a %"),
        ("pkcs11:object=%FFhunter2", "object in the URI is not UTF-8"),
        ("pkcs11:object=hunter2%00", "object in the URI has a NUL byte"),
        ("pkcs11:slot-id=0x10hunter2", "slot-id in the URI is a decimal number"),
        ("pkcs11:type=secret-key", "type is private or public"),
        ("pkcs11:?pin-source=|/bin/echo%20hunter2", "pin-source names a file"),
        ("pkcs11:?pin-source=https://hunter2/", "pin-source names a file"),
        ("pkcs11:?pin-source=file://elsewhere/hunter2", "pin-source names a file"),
        ("pkcs11:?pin-source=", "pin-source names a file"),
        ("pkcs11:library-version=3;x=hunter2", "unknown attribute library-version in"),
    ],
)
def test_what_is_refused_without_being_repeated(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        uri.parse(text)
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_a_description_leaves_out_how_to_get_at_the_key() -> None:
    where = uri.parse("pkcs11:token=ci;object=key;id=%01?module-path=/secret/l.so&pin-source=file:/secret/pin")
    assert uri.describe(where) == "pkcs11:token=ci;object=key;id=01"

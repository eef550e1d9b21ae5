"""moto's server, run as a program: ``python moto_server.py --port PORT``.

moto 5 takes ``MessageType=DIGEST`` and hashes the digest once more, and salts RSASSA-PSS at its greatest length.
Here its keys sign as those of AWS do, and it refuses whole messages, so that tests notice when more than a digest
is sent.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey
from moto.server import main

HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

moto_sign = KmsResponse.sign


def sign_digests(self: Any) -> Any:
    if self._get_param("MessageType") != "DIGEST":
        raise AssertionError("a whole message was sent")
    return moto_sign(self)


def ecdsa(self: Any, message: bytes, signing_algorithm: str) -> Any:
    return self.private_key.sign(message, ec.ECDSA(Prehashed(HASHES[signing_algorithm[-3:]])))


def rsa(self: Any, message: bytes, signing_algorithm: str) -> Any:
    algorithm = HASHES[signing_algorithm[-3:]]
    pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    how = pss if "PSS" in signing_algorithm else padding.PKCS1v15()
    return self.private_key.sign(message, how, Prehashed(algorithm))


KmsResponse.sign = sign_digests
ECDSAPrivateKey.sign = ecdsa
RSAPrivateKey.sign = rsa

if __name__ == "__main__":
    main()

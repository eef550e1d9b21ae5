"""RSASSA-PSS beside PKCS #1 v1.5: each key's hash, any salt accepted, and neither taken for the other."""

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ocimodel.keys import backend
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.signer import LocalSigner

MESSAGE = b"what is signed"
HASHES = {
    Algorithm.RSA_2048: hashes.SHA256(),
    Algorithm.RSA_3072: hashes.SHA384(),
    Algorithm.RSA_4096: hashes.SHA512(),
}


@pytest.fixture(scope="module", params=HASHES)
def rsa_signer(request: pytest.FixtureRequest) -> LocalSigner:
    return LocalSigner(backend.generate(request.param))


def test_an_rsa_key_signs_by_pss_as_the_notary_project_has_it(rsa_signer: LocalSigner) -> None:
    signature = rsa_signer.sign(MESSAGE, pss=True)
    digest = HASHES[rsa_signer.public.algorithm]
    public = serialization.load_der_public_key(rsa_signer.public.der)
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, MESSAGE, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    assert rsa_signer.public.verify(signature, MESSAGE, pss=True)
    assert not rsa_signer.public.verify(signature, MESSAGE + b"!", pss=True)


def test_neither_scheme_is_taken_for_the_other(rsa_signer: LocalSigner) -> None:
    assert not rsa_signer.public.verify(rsa_signer.sign(MESSAGE, pss=True), MESSAGE)
    assert not rsa_signer.public.verify(rsa_signer.sign(MESSAGE), MESSAGE, pss=True)
    assert rsa_signer.public.verify(rsa_signer.sign(MESSAGE), MESSAGE)


@pytest.mark.parametrize("salt", [0, 20, "max"])
def test_a_salt_of_any_length_verifies(salt: int | str) -> None:
    key = backend.generate(Algorithm.RSA_2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    length = padding.PSS.MAX_LENGTH if isinstance(salt, str) else salt
    signature = key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), length), hashes.SHA256())
    assert LocalSigner(key).public.verify(signature, MESSAGE, pss=True)


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ECDSA_P521, Algorithm.ED25519])
def test_other_keys_know_one_scheme(algorithm: Algorithm) -> None:
    signer = LocalSigner(backend.generate(algorithm))
    signature = signer.sign(MESSAGE, pss=True)
    assert signature == signer.sign(MESSAGE)
    assert signer.public.verify(signature, MESSAGE, pss=True)

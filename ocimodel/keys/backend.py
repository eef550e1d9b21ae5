"""What `cryptography` does for keys. Import it inside functions: names and help must not pay for it.

Guarantees: a key of another kind or size than `algorithms` lists never becomes a key here. ECDSA signatures are
deterministic (RFC 6979) wherever the linked OpenSSL can (3.2 and later; the published wheels all do), and RSA and
Ed25519 ones always are, but for RSASSA-PSS, which is salted. Verification never raises about a signature: it is
good, or it is not.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ocimodel.errors import UsageError
from ocimodel.keys.algorithms import Algorithm

PublicHandle = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateHandle = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
HINT = "Use ECDSA P-256 (the default), P-384, P-521, Ed25519, or RSA with 2048, 3072 or 4096 bits."
_FAILURES = (ValueError, TypeError, UnsupportedAlgorithm)


def algorithm_of(key: object) -> Algorithm:
    """Raises `UsageError` for a kind or size of key that signers and verifiers do not share."""
    for algorithm in Algorithm:
        scheme = algorithm.scheme
        if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
            if scheme.curve == key.curve.name:
                return algorithm
        elif isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
            if scheme.bits == key.key_size:
                return algorithm
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey)):
            return Algorithm.ED25519
    raise UsageError("this kind or size of key is not supported", hint=HINT)


def public_from_pem(pem: bytes) -> bytes:
    """PEM SubjectPublicKeyInfo to its one DER form: the same key has the same bytes however it was written."""
    try:
        key = serialization.load_pem_public_key(pem)
    except _FAILURES:
        raise UsageError("the public key is damaged or of an unknown kind", hint=HINT) from None
    algorithm_of(key)
    return _spki(key)


def public_pem(der: bytes) -> bytes:
    """PEM of a key in its DER form."""
    return _public(der).public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_of(key: PrivateHandle) -> bytes:
    """The DER form of a private key's public key."""
    return _spki(key.public_key())


def describe(der: bytes) -> Algorithm:
    """The algorithm of a key in its DER form."""
    return algorithm_of(_public(der))


def verify(der: bytes, signature: bytes, message: bytes, *, pss: bool = False) -> bool:
    """Whether the key signed ``message``; an RSA key by PKCS #1 v1.5 or, with ``pss``, by PSS of any salt."""
    return _verify(_public(der), signature, message, prehashed=False, pss=pss)


def verify_digest(der: bytes, signature: bytes, digest: bytes) -> bool:
    """As `verify`, for a message of which only the digest is known. Pure Ed25519 cannot: False."""
    return _verify(_public(der), signature, digest, prehashed=True, pss=False)


def sign(key: PrivateHandle, message: bytes, *, pss: bool = False) -> bytes:
    """ECDSA as ASN.1 DER, as Sigstore has it; deterministic. RSA by PKCS #1 v1.5, or by PSS where asked for."""
    algorithm = _HASHES.get(algorithm_of(key).scheme.hash_for(pss=pss) or "")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    assert algorithm is not None
    if isinstance(key, rsa.RSAPrivateKey):
        if pss:
            return key.sign(message, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)
        return key.sign(message, padding.PKCS1v15(), algorithm)
    try:
        return key.sign(message, ec.ECDSA(algorithm, deterministic_signing=True))
    except UnsupportedAlgorithm:
        return key.sign(message, ec.ECDSA(algorithm))


def private_from_pem(pem: bytes, password: bytes | None) -> PrivateHandle:
    """Raises ValueError where the password is wrong or the key damaged, `UsageError` where its kind is unknown."""
    return _supported(serialization.load_pem_private_key(pem, password))


def private_from_der(der: bytes) -> PrivateHandle:
    """As `private_from_pem`, for plain PKCS#8 DER."""
    return _supported(serialization.load_der_private_key(der, None))


def generate(algorithm: Algorithm) -> PrivateHandle:
    """A new key, from the operating system's randomness."""
    scheme = algorithm.scheme
    if scheme.family == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if scheme.family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=scheme.bits)
    curves: dict[str, ec.EllipticCurve] = {
        curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
    }
    return ec.generate_private_key(curves[scheme.curve])


def private_pem(key: PrivateHandle) -> bytes:
    """PKCS#8 PEM, not encrypted."""
    return _private_bytes(key, serialization.Encoding.PEM)


def private_der(key: PrivateHandle) -> bytes:
    """PKCS#8 DER, not encrypted."""
    return _private_bytes(key, serialization.Encoding.DER)


def aes_cbc(key: bytes, iv: bytes, padded: bytes) -> bytes:
    """Encrypt with AES in CBC mode; for `ocimodel.keys.pkcs8`."""
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def _private_bytes(key: PrivateHandle, encoding: serialization.Encoding) -> bytes:
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _supported(key: object) -> PrivateHandle:
    algorithm_of(key)
    assert isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey))
    return key


@lru_cache(maxsize=1024)
def _public(der: bytes) -> PublicHandle:
    key = serialization.load_der_public_key(der)
    assert isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey))
    return key


def _spki(key: object) -> bytes:
    assert isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey))
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _verify(key: PublicHandle, signature: bytes, data: bytes, *, prehashed: bool, pss: bool) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            if prehashed:
                return False
            key.verify(signature, data)
            return True
        name = algorithm_of(key).scheme.hash_for(pss=pss)
        assert name is not None
        algorithm: hashes.HashAlgorithm | utils.Prehashed = _HASHES[name]
        if prehashed:
            if len(data) != _HASHES[name].digest_size:
                return False
            algorithm = utils.Prehashed(_HASHES[name])
        if isinstance(key, rsa.RSAPublicKey):
            how = padding.PSS(padding.MGF1(_HASHES[name]), padding.PSS.AUTO) if pss else padding.PKCS1v15()
            key.verify(signature, data, how, algorithm)
        else:
            key.verify(signature, data, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError):
        return False
    return True

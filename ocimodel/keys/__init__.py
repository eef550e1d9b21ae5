"""Signers and public keys. The only importer of `cryptography`, and only once a key is really used."""

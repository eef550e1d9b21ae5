"""Signers and public keys. The only importer of `cryptography`."""

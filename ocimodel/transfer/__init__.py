"""Moves bytes between a store and a disk: upload, download, staging, receipt."""

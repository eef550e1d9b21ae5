"""Put a referrer into a store."""

from __future__ import annotations

from ocimodel.attest.referrer import EMPTY, Attachment
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.stores.protocol import Source, Store


def store_attachment(store: Store, subject: Descriptor, attachment: Attachment) -> bool:
    """Put an attachment; False where the store lists it already."""
    listed = store.referrers(subject.digest)
    if any(entry.digest == attachment.descriptor.digest for entry in listed.entries):
        return False
    if not store.has_blob(EMPTY):
        store.put_blob(Source.of(media.EMPTY_JSON), EMPTY.digest)
    store.put_blob(Source.of(attachment.bundle), attachment.layer.digest)
    store.put_manifest(attachment.manifest, attachment.descriptor.media_type)
    return True

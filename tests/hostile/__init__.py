"""An OCI registry for tests: faithful by default, hostile by switch. Standard library only."""

from tests.hostile.auth import Basic, Bearer
from tests.hostile.messages import Action, Alter, Drop, Reply, Request, Response, Rule, Stall
from tests.hostile.registry import HostileRegistry
from tests.hostile.state import Document, Repository, describe, digest_of, index_of
from tests.hostile.switches import Switches

__all__ = [
    "Action",
    "Alter",
    "Basic",
    "Bearer",
    "Document",
    "Drop",
    "HostileRegistry",
    "Repository",
    "Reply",
    "Request",
    "Response",
    "Rule",
    "Stall",
    "Switches",
    "describe",
    "digest_of",
    "index_of",
]

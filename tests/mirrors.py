"""A registry with a signed model, mirrors before it, and a node that knows of them by a hosts.toml."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from tests.attacks.scene import NAME, Scene
from tests.commands import Ran, run
from tests.hostile import HostileRegistry
from tests.scripted import Authority, Say, Scripted
from tests.signers import ALICE


class Site(AbstractContextManager["Site"]):
    """``origin`` is the registry; mirrors are added by `mirror`, each as the origin is at that time."""

    def __init__(self, place: Path, origin: HostileRegistry | None = None) -> None:
        self._stack = ExitStack()
        self.place = place
        self.origin = origin or self._stack.enter_context(HostileRegistry())
        self.scene = Scene(self.origin, place)
        self.config = place / "certs.d"
        self.reference = str(self.scene.reference)
        self._hosts: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.__exit__(*failure)  # type: ignore[arg-type]

    def mirror(
        self, capabilities: str = '"pull", "resolve"', more: str = "", *, empty: bool = False
    ) -> HostileRegistry:
        """One more mirror, with all that the origin has now."""
        running = self._stack.enter_context(HostileRegistry())
        if not empty:
            running.restore(self.origin.snapshot())
        self.add(running.url, capabilities, more)
        return running

    def add(self, url: str, capabilities: str = '"pull", "resolve"', more: str = "") -> None:
        self._hosts.append(f'[host."{url}"]\ncapabilities = [{capabilities}]\n{more}\n')
        self.say("".join(self._hosts))

    def say(self, text: str, host: str = "") -> None:
        folder = self.config / (host or self.origin.host)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(text)

    def cut(self) -> None:
        """From now on the origin cannot be reached: nobody knows who answers there, so nobody waits for it."""
        stranger = Authority.create(self.place / "stranger")
        server = self._stack.enter_context(Scripted(lambda _: Say(500), tls=stranger.server_context()))
        self.say(f'server = "{server.url}"\n{"".join(self._hosts)}')

    @property
    def hosts(self) -> str:
        """The file as it stands."""
        return (self.config / self.origin.host / "hosts.toml").read_text()

    # The node

    @property
    def out(self) -> Path:
        return self.scene.out

    def run(self, *argv: str | Path) -> Ran:
        return run(*argv, "--registry-config", self.config)

    def pull(self, *more: str | Path, reference: str = "") -> Ran:
        """A verified pull of the tag to an empty place, without anything that an earlier one left."""
        shutil.rmtree(self.out, ignore_errors=True)
        return self.run(
            "pull",
            reference or self.reference,
            "-o",
            self.out,
            "--key",
            self.scene.public(ALICE),
            "--no-cache",
            *more,
        )

    def verify(self, *more: str | Path, reference: str = "") -> Ran:
        return self.run("verify", reference or self.reference, "--key", self.scene.public(ALICE), *more)

    def forget(self, *mirrors: HostileRegistry) -> None:
        for registry in (self.origin, *mirrors):
            registry.forget()


def asked(registry: HostileRegistry) -> list[str]:
    """What it was asked for, in short: ``GET blob``."""
    return [f"{request.method} {request.route}" for request in registry.seen()]


__all__ = ["NAME", "Site", "asked"]

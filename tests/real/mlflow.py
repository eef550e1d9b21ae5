"""A real MLflow server, as mlflow-skinny has it, on loopback."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.real.servers import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running_mlflow(place: Path) -> Iterator[str]:
    """``HOST:PORT`` of a server that keeps what it is told in ``place``."""
    place.mkdir(exist_ok=True)

    def command(port: int) -> list[str]:
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        words += ["--workers", "1", "--backend-store-uri", f"sqlite:///{place}/{port}.db"]
        return [*words, "--default-artifact-root", f"{place}/files"]

    with server(command, log=place / "log", path="/health") as host:
        yield host


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. It takes some seconds to make its database, so there is one for all tests."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as host:
        yield f"http://{host}"

"""What every test has at hand: an environment of its own, and the real parts."""

import pytest

pytest.register_assert_rewrite("tests.real")  # all of it, before one of its modules imports another

pytest_plugins = [
    "tests.real.isolation",
    "tests.real.registries",
    "tests.real.engine",
    "tests.real.proxy",
    "tests.real.cosign",
    "tests.real.notation",
    "tests.real.softhsm",
    "tests.real.aws",
    "tests.real.mlflow",
]

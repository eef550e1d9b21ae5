"""ocimodel: pack, sign, push, pull and verify machine-learning models as OCI artifacts.

    import ocimodel

    with ocimodel.open("registry.example/ml/bert:1.4", keys=["signing.pub"]) as model:
        head = model.numpy("lm_head.weight")

What stands in ``__all__`` is the library; everything else may change. `open` takes what is typed on the command
line; `push`, `pull`, `sign`, `verify`, `verify_directory` and `diff` take a `Reference`, an `Access`, a
`TrustPolicy` (of keys, or of a file by `load_policy`) and what `load_signer` or `load_public` made of a key. All of
them raise `ocimodel.errors`, and do nothing before they know who vouches for what. Importing this costs nothing:
each name brings its module when it is first used.
"""

TYPE_CHECKING = False  # as type checkers know it, without an import of typing
if TYPE_CHECKING:
    from ocimodel.keys.specs import load_public, load_signer
    from ocimodel.oci.reference import Reference
    from ocimodel.stores.opening import Access
    from ocimodel.trust.files import load as load_policy
    from ocimodel.trust.policy import TrustPolicy
    from ocimodel.verbs.diff import diff
    from ocimodel.verbs.open import Model
    from ocimodel.verbs.open import open_model as open  # noqa: A004
    from ocimodel.verbs.pull import pull
    from ocimodel.verbs.push import push
    from ocimodel.verbs.sign import sign
    from ocimodel.verbs.verify import verify_artifact as verify
    from ocimodel.verbs.verify_directory import verify_directory

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Model",
    "Reference",
    "TrustPolicy",
    "diff",
    "load_policy",
    "load_public",
    "load_signer",
    "open",
    "pull",
    "push",
    "sign",
    "verify",
    "verify_directory",
]

_PLACES = {
    "Access": ("stores.opening", "Access"),
    "Model": ("verbs.open", "Model"),
    "Reference": ("oci.reference", "Reference"),
    "TrustPolicy": ("trust.policy", "TrustPolicy"),
    "diff": ("verbs.diff", "diff"),
    "load_policy": ("trust.files", "load"),
    "load_public": ("keys.specs", "load_public"),
    "load_signer": ("keys.specs", "load_signer"),
    "open": ("verbs.open", "open_model"),
    "pull": ("verbs.pull", "pull"),
    "push": ("verbs.push", "push"),
    "sign": ("verbs.sign", "sign"),
    "verify": ("verbs.verify", "verify_artifact"),
    "verify_directory": ("verbs.verify_directory", "verify_directory"),
}


if not TYPE_CHECKING:  # type checkers have the names from above, and should miss others

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        module, attribute = _PLACES[name]
        return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Keys and policies from what was typed or set in the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel.cli.options import POLICY, SIGNING_KEY, VERIFY_KEY
from ocimodel.cli.run import Run
from ocimodel.cli.values import from_environment
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.keys.signer import Signer
    from ocimodel.trust.policy import TrustPolicy


def signer(run: Run, key: str | None, password_file: Path | None, *, command: str) -> Signer:
    """The private key of ``--key``, else of the environment."""
    from ocimodel.keys.files import permission_warning
    from ocimodel.keys.passwords import password_from
    from ocimodel.keys.specs import load_signer

    if key is not None and not key.strip():
        raise UsageError("--key is empty", hint="Check that the variable in it is set.")
    spec = key
    if spec is None:
        given = from_environment(SIGNING_KEY)
        if len(given) > 1:
            raise UsageError(
                f"{SIGNING_KEY} names {len(given)} keys", hint="Name one key, quoted if it has blanks."
            )
        spec = given[0] if given else None
    if spec is None:
        raise UsageError(
            f"{command} needs a key",
            hint=f"Give --key KEY or set {SIGNING_KEY}; ocimodel key generate NAME makes one.",
        )
    found = load_signer(spec, password_from(os.environ, lambda: ask(prompt_for(spec)), password_file))
    warning = permission_warning(spec)
    if warning:
        run.warn(warning)
    return found


def prompt_for(spec: str) -> str:
    """What to ask for: tokens have PINs."""
    return f"{'PIN' if spec.startswith('pkcs11:') else 'Password'} of {spec.partition('?')[0]}: "


def trust(
    run: Run, keys: Sequence[str], policy_file: str | None, *, enforce: bool = False, offline: bool = False
) -> TrustPolicy | None:
    """The policy of what was given anywhere, arguments first; None where nothing was.

    Args:
        enforce: whatever mode the policy says.
        offline: a trust source is not asked, what was kept of it decides; a key in a service is a UsageError.
    """
    if any(not key.strip() for key in keys):
        raise UsageError("--key is empty", hint="Check that the variable in it is set.")
    if policy_file is not None and not policy_file.strip():
        raise UsageError("--policy is empty", hint="Check that the variable in it is set.")
    if keys and policy_file is not None:
        raise UsageError(
            "--key and --policy both say whom to trust", hint="Name the key in the policy, or leave the policy out."
        )
    if not keys and policy_file is None:
        keys = from_environment(VERIFY_KEY)
        policies = from_environment(POLICY)
        if len(policies) > 1:
            raise UsageError(f"{POLICY} names {len(policies)} files", hint="Name one, quoted if it has blanks.")
        if keys and policies:
            raise UsageError(
                f"{VERIFY_KEY} and {POLICY} both say whom to trust", hint="Unset one of them, or give an argument."
            )
        policy_file = policies[0] if policies else None
    if not keys and policy_file is None:
        return None
    return _taken(run, load_policy(run, keys, policy_file, offline=offline), enforce=enforce)


def policy_file(run: Run, path: Path, *, enforce: bool = False) -> TrustPolicy:
    """The policy in a file that is an argument."""
    return _taken(run, load_policy(run, (), str(path)), enforce=enforce)


def current_policy(run: Run, path: Path | None) -> TrustPolicy | None:
    """The policy that holds now: of ``--against``, else of the environment; None where nothing says so."""
    given = [str(path)] if path is not None else from_environment(POLICY)
    if len(given) > 1:
        raise UsageError(f"{POLICY} names {len(given)} files", hint="Name one, quoted if it has blanks.")
    return load_policy(run, (), given[0]) if given else None


def _taken(run: Run, policy: TrustPolicy, *, enforce: bool) -> TrustPolicy:
    run.mode = "enforce"
    if policy.digest:
        run.policy = {"id": policy.id or None, "digest": policy.digest}
    return policy.enforced() if enforce else policy


def under(run: Run, policy: TrustPolicy | None, name: str) -> None:
    """Note the rules that hold for ``name``, so that the audit event has them however the command ends."""
    rules = policy.rules_for(name) if policy is not None else None
    if rules is not None:
        run.mode = rules.mode
        run.environment = rules.environment or None


def judged_as(name: str | None) -> str | None:
    """The name behind ``--as``, without tag and digest."""
    if name is None:
        return None
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.judging import judged_name

    return judged_name(Reference.parse(name))


def load_policy(run: Run, keys: Sequence[str], policy_file: str | None, *, offline: bool = False) -> TrustPolicy:
    """The one place where a trust policy is made of what a user named."""
    if policy_file is not None:
        from ocimodel.verbs.policy_source import load

        loaded = load(Path(policy_file), access=run.access, now=run.now, offline=offline)
        for warning in loaded.warnings:
            run.warn(warning)
        return loaded.policy
    from ocimodel.keys.specs import load_public
    from ocimodel.trust.policy import TrustPolicy

    return TrustPolicy.of_keys(load_public(key, offline=offline) for key in keys)


def ask(prompt: str) -> str | None:
    """Ask for a secret on the terminal; None where there is none."""
    if not sys.stdin.isatty():
        return None
    import getpass

    return getpass.getpass(prompt)

"""Where a command runs: the host, the user, the CI run, the environment it was told to be in."""

from __future__ import annotations

import os

from ocimodel.audit.event import Actor

ENVIRONMENT = "OCIMODEL_ENVIRONMENT"


def host() -> str:
    """This machine's name, as a part of a URI."""
    name = os.uname().nodename
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-._") else "-" for letter in name)


def environment() -> str | None:
    """The environment that this node says it belongs to (dev, staging, prod)."""
    return os.environ.get(ENVIRONMENT) or None


def actor() -> Actor:
    """Who runs this."""
    return Actor(uid=os.getuid(), ci_run=_ci_run())


def _ci_run() -> str | None:
    # Each CI system names its run in variables of its own; only identifiers are taken, never a token.
    variables = os.environ
    if variables.get("GITHUB_ACTIONS") and variables.get("GITHUB_RUN_ID"):
        return f"github:{variables.get('GITHUB_REPOSITORY', '')}/actions/runs/{variables['GITHUB_RUN_ID']}"
    if variables.get("GITLAB_CI") and variables.get("CI_PIPELINE_ID"):
        return f"gitlab:{variables.get('CI_PROJECT_PATH', '')}/pipelines/{variables['CI_PIPELINE_ID']}"
    if variables.get("BUILDKITE_BUILD_ID"):
        return f"buildkite:{variables['BUILDKITE_BUILD_ID']}"
    if variables.get("JENKINS_URL") and variables.get("BUILD_TAG"):
        return f"jenkins:{variables['BUILD_TAG']}"
    return None

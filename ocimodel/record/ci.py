"""``env``: where this very process runs, as the variables of a CI system say, and the packages around it.

GitHub Actions, GitLab CI and Jenkins set theirs by themselves; Argo Workflows and Tekton set few or none, so the
pipeline sets those of `_ARGO` and `_TEKTON`; the container image, which a job cannot know, is in `IMAGE` where
the pipeline says it (docs/reference/model-yaml.md). Guarantees: only variables that are listed here are read, and
none of them is a secret; credentials within their URLs are left out. What a CI system says of itself is
self-declared like everything else in a record, until a policy asks for a signature that only that system can make.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocimodel.record.packages import installed
from ocimodel.record.record import Material, Record

IMAGE = ("OCIMODEL_JOB_IMAGE", "CI_JOB_IMAGE")
"""Ours, which a pipeline sets, and GitLab's."""
_PINNED = re.compile(r"(.+)@(sha256|sha512):([0-9a-f]{64,128})")


def collect(env: Mapping[str, str]) -> Record:
    """The record of the CI job that ``env`` describes; on other machines only the packages."""
    for detect in (_github, _gitlab, _jenkins, _tekton, _argo):
        found = detect(env)
        if found is not None:
            return Record(materials=(*_image(env), *installed())).under(found)
    return Record(materials=(*_image(env), *installed()))


def _image(env: Mapping[str, str]) -> list[Material]:
    """The container image, by its digest where its name has one."""
    name = next((value.strip() for key in IMAGE if (value := env.get(key, ""))), "").removeprefix("oci://")
    match = _PINNED.fullmatch(name)
    digests = {match[2]: match[3]} if match else {}
    return [Material.of("image", name="image", uri=f"oci://{name}", digests=digests)] if name else []


def _record(
    *,
    repository: str = "",
    ref: str = "",
    commit: str = "",
    builder: str = "",
    invocation: str = "",
    contributor: str = "",
    started: str = "",
) -> Record:
    at = f"@{ref}" if ref else ""
    source = Material.of(
        "source",
        name="source",
        uri=f"git+{repository}{at}" if repository else "",
        digests={"gitCommit": commit},
    )
    said = {"repository": repository, "ref": ref}
    return Record(
        source={key: value for key, value in said.items() if value},
        materials=(source,) if commit else (),
        builder=builder,
        invocation=invocation,
        started=started,
        contributors=(contributor,) if contributor else (),
    )


def _github(env: Mapping[str, str]) -> Record | None:
    if env.get("GITHUB_ACTIONS") != "true":
        return None
    server, repository = env.get("GITHUB_SERVER_URL", ""), env.get("GITHUB_REPOSITORY", "")
    run, attempt = env.get("GITHUB_RUN_ID", ""), env.get("GITHUB_RUN_ATTEMPT", "")
    workflow, actor = env.get("GITHUB_WORKFLOW_REF", ""), env.get("GITHUB_ACTOR", "")
    at = f"/attempts/{attempt}" if attempt else ""
    return _record(
        repository=f"{server}/{repository}",
        ref=env.get("GITHUB_REF", ""),
        commit=env.get("GITHUB_SHA", ""),
        builder=f"{server}/{workflow}" if workflow else "",
        invocation=f"{server}/{repository}/actions/runs/{run}{at}" if run else "",
        contributor=f"{server}/{actor}" if actor else "",
    )


def _gitlab(env: Mapping[str, str]) -> Record | None:
    if env.get("GITLAB_CI") != "true":
        return None
    project, ref = env.get("CI_PROJECT_URL", ""), env.get("CI_COMMIT_REF_NAME", "")
    config = env.get("CI_CONFIG_PATH", "") or ".gitlab-ci.yml"
    return _record(
        repository=project,
        ref=ref,
        commit=env.get("CI_COMMIT_SHA", ""),
        builder=f"{project}//{config}@{ref}" if project else "",
        invocation=env.get("CI_JOB_URL", "") or env.get("CI_PIPELINE_URL", ""),
        contributor=env.get("GITLAB_USER_LOGIN", ""),
        started=env.get("CI_JOB_STARTED_AT", ""),
    )


def _jenkins(env: Mapping[str, str]) -> Record | None:
    if not env.get("JENKINS_URL"):
        return None
    return _record(
        repository=env.get("GIT_URL", ""),
        ref=env.get("GIT_BRANCH", ""),
        commit=env.get("GIT_COMMIT", ""),
        builder=env.get("JOB_URL", "") or env.get("JENKINS_URL", ""),
        invocation=env.get("BUILD_URL", ""),
        contributor=env.get("BUILD_USER_ID", ""),
    )


_TEKTON = ("TEKTON_PIPELINE_RUN", "TEKTON_PIPELINE", "TEKTON_NAMESPACE")
_ARGO = ("ARGO_WORKFLOW_NAME", "ARGO_WORKFLOW_UID", "ARGO_WORKFLOW_NAMESPACE", "ARGO_WORKFLOW_TEMPLATE")


def _tekton(env: Mapping[str, str]) -> Record | None:
    run, pipeline, namespace = (env.get(name, "") for name in _TEKTON)
    if not run:
        return None
    where = f"{namespace}/" if namespace else ""
    return _given(env, builder=f"tekton:{where}{pipeline}" if pipeline else "", invocation=f"tekton:{where}{run}")


def _argo(env: Mapping[str, str]) -> Record | None:
    name, uid, namespace, template = (env.get(variable, "") for variable in _ARGO)
    if not name:
        return None
    where = f"{namespace}/" if namespace else ""
    builder = f"argo:{where}{template}" if template else ""
    return _given(env, builder=builder, invocation=f"argo:{where}{name}" + (f"/{uid}" if uid else ""))


def _given(env: Mapping[str, str], *, builder: str, invocation: str) -> Record:
    """Source and commit from the variables that a pipeline hands on, under the names that Jenkins gives them."""
    return _record(
        repository=env.get("GIT_URL", ""),
        ref=env.get("GIT_BRANCH", ""),
        commit=env.get("GIT_COMMIT", ""),
        builder=builder,
        invocation=invocation,
    )

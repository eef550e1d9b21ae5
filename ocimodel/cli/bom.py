"""``ocimodel bom``."""

import json
from pathlib import Path

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.oci.reference import LAYOUT_PREFIX

app = typer.Typer()


@command(
    app,
    "bom",
    examples="""
    ocimodel bom registry.example/ml/bert:1.4 > bom.json
    ocimodel attest registry.example/ml/bert:1.4 --type cyclonedx --predicate bom.json --key signing.key
    ocimodel bom ./bert
    """,
)
def bom(run: Run, subject: options.RefOrDirectory) -> Answer:
    """Print a model's bill of materials: CycloneDX 1.6, with its model card, datasets, packages and files.

    It says what the artifact's config and provenance say, and nothing more; no weights are read. The same model has
    the same bill; a time is in it only where SOURCE_DATE_EPOCH is set.
    """
    if not subject.startswith(LAYOUT_PREFIX) and Path(subject).is_dir():
        from ocimodel.verbs.bom import bom_of_directory

        run.requested = subject
        found = bom_of_directory(Path(subject), run.meter)
        return Answer(text=json.dumps(found, indent=2, ensure_ascii=False), more={"bom": found})
    from ocimodel.verbs.bom import bom

    reference, found = bom(run.reference(subject), run.access)
    return Answer(
        text=json.dumps(found, indent=2, ensure_ascii=False),
        reference=str(reference),
        digest=str(reference.digest),
        more={"bom": found},
    )

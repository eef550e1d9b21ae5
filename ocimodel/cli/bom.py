"""``ocimodel bom``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.oci.reference import LAYOUT_PREFIX

app = typer.Typer()

BillFormat = Annotated[
    str,
    options.option(
        "--format",
        metavar="FORMAT",
        variable="OCIMODEL_BOM_FORMAT",  # OCIMODEL_FORMAT is of signatures
        help="cyclonedx (1.6, the default) or spdx (3.0.1, JSON-LD).",
    ),
]


@command(
    app,
    "bom",
    examples="""
    ocimodel bom registry.example/ml/bert:1.4 > bom.json
    ocimodel attest registry.example/ml/bert:1.4 --type cyclonedx --key signing.key
    ocimodel bom registry.example/ml/bert:1.4 --format spdx > bert.spdx3.json
    ocimodel bom ./bert
    """,
)
def bom(run: Run, subject: options.RefOrDirectory, format: BillFormat = "cyclonedx") -> Answer:  # noqa: A002
    """Print a model's bill of materials: its files, model card, datasets, packages and licences.

    CycloneDX 1.6, or SPDX 3.0.1 with its AI profile. It says what the artifact's config and provenance say, and
    nothing more; no weights are read. The same model has the same bill; the time of now is never in it
    (SOURCE_DATE_EPOCH is).
    """
    if not subject.startswith(LAYOUT_PREFIX) and Path(subject).is_dir():
        from ocimodel.verbs.bom import bom_of_directory

        run.requested = subject
        found = bom_of_directory(Path(subject), run.meter, format=format)
        return Answer(text=json.dumps(found, indent=2, ensure_ascii=False), more={"bom": found})
    from ocimodel.verbs.bom import bom

    reference, found = bom(run.reference(subject), run.access, format=format)
    return Answer(
        text=json.dumps(found, indent=2, ensure_ascii=False),
        reference=str(reference),
        digest=str(reference.digest),
        more={"bom": found},
    )

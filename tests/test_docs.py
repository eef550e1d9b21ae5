"""The documents tell the truth: transcripts are run, commands and options exist, links lead somewhere.

In the documents, a block marked ``console`` is a transcript: lines that begin with ``$ `` are typed (``> ``
continues one), all others are what is printed, stdout and stderr as a terminal shows them. The blocks of one page
run in order, in one shell and an empty directory. A page that names ``localhost:5000`` gets a real registry there,
one that names ``localhost:5001`` a real MLflow
server, one that names SoftHSM's library gets the one that is here, and ``examples/`` is ours.
Digests, times and temporary paths may differ; nothing else may. Blocks marked ``sh`` are not run; their commands
are checked against the program, as are those of the examples.

With ``REWRITE_TRANSCRIPTS=1`` they are run and written into the pages: read the difference before you
commit it.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import yaml

from ocimodel import errors
from ocimodel.cli import failures
from ocimodel.trust.judge import Status
from tests.real.mlflow import running_mlflow
from tests.real.peers import PEERS, peer
from tests.real.registries import docker_registry
from tests.real.softhsm import module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for path in ROOT.glob(pattern))
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file() and path.suffix != ".md")
REGISTRY = "localhost:5000"
MLFLOW = "localhost:5001"
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, kind: str) -> list[str]:
    """The fenced blocks of ``path`` that are marked ``kind``."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


# --- transcripts -------------------------------------------------------------


def transcript(block: str) -> list[tuple[str, str]]:
    """Pairs of what is typed and what is then printed."""
    steps: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif line.startswith("> "):
            steps[-1] = (f"{steps[-1][0]}\n{line[2:]}", steps[-1][1])
        else:
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
    return steps


class Settled:
    """The texts of one transcript without what differs from run to run: digests become numbers, in their order."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        text = re.sub(r"\b(?:(?:sha256|blake3)[:-])?([0-9a-f]{12})(?:[0-9a-f]{52}\b|…)", self._number, text)
        text = re.sub(r"\bFound slot \d+", "Found slot 0", text)
        text = re.sub(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", "<time>", text)
        text = re.sub(r"(?<=>)[ ]+", "  ", text)  # columns
        return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())

    def _number(self, digest: re.Match[str]) -> str:
        return f"<digest {self._numbers.setdefault(digest[1], len(self._numbers) + 1)}>"


def play(
    steps: list[tuple[str, str]], place: Path, environment: dict[str, str], hosts: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Run the steps in one shell: command, what was expected, what came."""
    mark = "\x1e"
    script = ["exec 2>&1", "status=0"]
    for command, _ in steps:
        # The status of the last command must still be there for `echo $?`.
        for written, host in hosts.items():
            command = command.replace(written, host)
        command = command.replace(" examples/", f" {ROOT}/examples/")
        if SOFTHSM in command:
            command = command.replace(SOFTHSM, str(module()))
        script.append(f"(exit $status)\n{command}\nstatus=$?; printf '{mark}'")
    file = place.with_suffix(".sh")
    file.write_text("\n".join(script) + "\n")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", str(file)],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    came = done.stdout.split(mark)
    assert len(came) == len(steps) + 1, f"the shell ended early:\n{done.stdout}{done.stderr}"
    for (command, expected), output in zip(steps, came, strict=False):
        for written, host in hosts.items():
            output = output.replace(host, written)
        yield command, expected, output.replace(str(place), "/somewhere")


WITH_TRANSCRIPTS = [page for page in PAGES if blocks(page, "console")]


@pytest.mark.parametrize("page", WITH_TRANSCRIPTS, ids=name)
def test_transcripts_are_what_is_printed(page: Path, tmp_path: Path) -> None:
    steps = [step for block in blocks(page, "console") for step in transcript(block)]
    for tool in ("cosign", "notation", "oras", "softhsm2-util"):
        if any(re.search(rf"\b{tool} ", command) for command, _ in steps):
            peer(tool)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ocimodel").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocimodel "$@"\n')
    (programs / "ocimodel").chmod(0o755)
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python3").chmod(0o755)
    (programs / "model_signing").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m model_signing "$@"\n')
    (programs / "model_signing").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), str(PEERS / "bin"), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    work = tmp_path / "work"
    work.mkdir()
    with ExitStack() as stack:
        hosts: dict[str, str] = {}
        if any(REGISTRY in command for command, _ in steps):
            hosts[REGISTRY] = stack.enter_context(docker_registry(tmp_path / "registry")).host
        if any(MLFLOW in command for command, _ in steps):
            hosts[MLFLOW] = stack.enter_context(running_mlflow(tmp_path / "mlflow"))
        played = list(play(steps, work, environment, hosts))
    told, printed = Settled(), Settled()
    for command, expected, came in played:
        if told(expected) != printed(came):
            if os.environ.get("REWRITE_TRANSCRIPTS"):
                rewrite(page, played)
                return
            assert printed(came) == told(expected), f"$ {command}"


def rewrite(page: Path, played: list[tuple[str, str, str]]) -> None:
    """Put what came in the place of what was expected; digests shortened."""
    steps = iter(played)

    def block(found: re.Match[str]) -> str:
        lines: list[str] = []
        for _ in transcript(found[1]):
            command, _, came = next(steps)
            lines += f"$ {command}".replace("\n", "\n> ").splitlines()
            lines += re.sub(r"((?:sha256|blake3):[0-9a-f]{12})[0-9a-f]{52}", r"\1…", came.strip("\n")).splitlines()
        return "\n".join(["```console", *lines, "```"])

    page.write_text(re.sub(r"^```console\n(.*?)^```$", block, page.read_text(), flags=re.DOTALL | re.MULTILINE))


# --- commands ------------------------------------------------------------------


@cache
def program() -> Any:
    """The command line as click sees it: commands with their parameters, nothing is run."""
    import typer.main

    from ocimodel.cli.app import app

    return typer.main.get_command(app)


def calls(text: str) -> Iterator[list[str]]:
    """The arguments of each call of ocimodel in a piece of shell."""
    text = re.sub(r"\\\n\s*", "", text)
    for found in re.finditer(r"(?:^|(?<=[\s(|;&]))(?:/usr/local/bin/)?ocimodel +(?=[a-z-])", text, re.MULTILINE):
        rest = text[found.end() :].split("\n")[0]
        tokens = shlex.shlex(rest, posix=True, punctuation_chars=True)
        tokens.whitespace_split = True
        arguments: list[str] = []
        for token in tokens:
            if set(token) <= set("();<>|&"):
                break
            arguments.append(token)
        yield arguments


def find_command(words: list[str]) -> tuple[Any, list[str], list[str]]:
    """The command that the words begin with, its path, and the other words. KeyError where there is none."""
    command, path = program(), ["ocimodel"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        word, words = words[0], words[1:]
        default = next((name for name in ("add", "run") if name in command.commands), None)
        if word not in command.commands and default is not None:  # `attest REF` is `attest add REF`
            word, words = default, [word, *words]
        command = command.commands[word]
        path.append(word)
    return command, path, words


def check_call(arguments: list[str]) -> None:
    """Raises click's usage error, or KeyError for a command that is not there."""
    command, path, words = find_command(arguments)
    if not {"--help", "--version", "--install-completion", "--show-completion"} & set(words):
        command.make_context(" ".join(path), words)


def strings(value: Any) -> Iterator[str]:
    """Every string in a decoded YAML document, and the command lines that Kubernetes keeps as lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        if value.get("command") == ["ocimodel"]:
            yield shlex.join(["ocimodel", *value["args"]])
        for item in value.values():
            yield from strings(item)


def written_calls(path: Path) -> Iterator[list[str]]:
    if path.suffix in (".yml", ".yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            for text in strings(document):
                yield from calls(text)
    elif path.suffix == ".md":
        for block in blocks(path, "sh"):
            yield from calls(block)
        for block in blocks(path, "console"):
            for command, _ in transcript(block):
                yield from calls(command)
    else:
        yield from calls(path.read_text().replace("ExecStart=", ""))


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=name)
def test_every_command_that_is_written_parses(path: Path) -> None:
    for arguments in written_calls(path):
        try:
            check_call(arguments)
        except KeyError as missing:
            pytest.fail(f"ocimodel {shlex.join(arguments)}: no command {missing}")
        except Exception as problem:  # noqa: BLE001 - click's errors have no common name in all versions of typer
            pytest.fail(f"ocimodel {shlex.join(arguments)}: {problem}")


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_and_options_named_in_prose_exist(path: Path) -> None:
    for span in re.findall(r"(?<!`)`(ocimodel [^`]+)`(?!`)", path.read_text()):
        words = re.sub(r"[\[\]…|]", " ", span).split()[1:]
        command, _, words = find_command(words)
        names = {"--help", "--version", "--json", "--quiet", "--debug"}
        names |= {option for parameter in command.params for option in parameter.opts}
        for word in words:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in names, span


@pytest.mark.parametrize("path", sorted((ROOT / "examples").iterdir()), ids=name)
def test_examples_call_ocimodel(path: Path) -> None:
    """A file, or the files of a directory together."""
    files = [item for item in EXAMPLES if path in (item, *item.parents)]
    assert [call for item in files for call in written_calls(item)], "an example that calls nothing shows nothing"


def test_what_is_not_here_yet_is_not_here() -> None:
    section = (ROOT / "README.md").read_text().partition("## What is not here yet\n")[2].partition("\n## ")[0]
    assert section
    assert set(re.findall(r"`([a-z]+)`", section)) & set(program().commands) == set()


# --- tables ----------------------------------------------------------------------


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the first table whose head begins with ``heading``."""
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_exit_codes_are_those_of_the_errors() -> None:
    page = ROOT / "docs/reference/exit-codes.md"
    told = {int(code): row[2] for row in rows(page, "code") for code in row[0].split(",")}
    known = {
        error.exit_code: error.klass
        for module in (errors, failures)
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, errors.OcimodelError) and error.exit_code != 1
    }
    timely = {code: f"{klass}, or clock" for code, klass in known.items() if code in (15, 21)}
    assert told == {0: "", 1: ""} | known | timely
    order = re.search(r"in this order: ([0-9, ]+)\.", page.read_text())
    assert order is not None
    assert tuple(map(int, order[1].split(","))) == errors.SEVERITY


def variables(paths: Iterable[Path]) -> set[str]:
    return {name for path in paths for name in re.findall(r"\bOCIMODEL_[A-Z_]*[A-Z]\b", path.read_text())}


def options_variables(command: Any) -> set[str]:
    found = {name for parameter in command.params for name in as_names(parameter.envvar)}
    for child in getattr(command, "commands", {}).values():
        found |= options_variables(child)
    return found


def as_names(envvar: str | list[str] | None) -> list[str]:
    return [envvar] if isinstance(envvar, str) else list(envvar or ())


def test_every_variable_in_the_documents_exists() -> None:
    in_code = variables((ROOT / "ocimodel").rglob("*.py"))
    assert variables([*PAGES, *EXAMPLES]) - in_code - options_variables(program()) == set()


def test_every_variable_in_the_code_is_documented() -> None:
    in_code = variables((ROOT / "ocimodel").rglob("*.py"))
    assert in_code - variables([ROOT / "docs/reference/environment.md"]) == set()


# --- pages -------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.suffix in (".yml", ".yaml")], ids=name)
def test_examples_are_yaml(path: Path) -> None:
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(path.read_text()))


def test_the_job_gives_up_on_every_refusal_and_retries_an_outage() -> None:
    job = yaml.safe_load((ROOT / "examples/kubernetes-init-container.yaml").read_text())
    rules = {
        rule["action"]: set(rule["onExitCodes"]["values"]) for rule in job["spec"]["podFailurePolicy"]["rules"]
    }
    assert rules["Count"] == {errors.UnavailableError.exit_code}
    assert set(errors.SEVERITY) <= rules["FailJob"]


def test_the_unit_gives_up_on_every_refusal_and_retries_an_outage() -> None:
    unit = (ROOT / "examples/ocimodel-pull.service").read_text()
    final = set(map(int, re.findall(r"^RestartPreventExitStatus=([0-9 ]+)$", unit, re.MULTILINE)[0].split()))
    assert set(errors.SEVERITY) <= final
    assert errors.UnavailableError.exit_code not in final


def test_the_statuses_of_signers_are_those_of_the_judge() -> None:
    told = {
        status
        for row in rows(ROOT / "docs/reference/json.md", "`status` of a signer")
        for status in re.findall(r"`([a-z-]+)`", row[0])
    }
    assert told == {*Status} - {Status.OTHER} | {"created", "present"}


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (ROOT / "docs/adr/README.md").read_text()))
    assert listed == {path.name for path in (ROOT / "docs/adr").glob("0*.md")}

"""The command line's frame: help, what is refused before anything is done, and what every error looks like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocimodel import __version__
from ocimodel.cli.app import COMMANDS, GROUPS, arrange, commands
from ocimodel.cli.console import Console
from ocimodel.cli.failures import Stop, describe
from ocimodel.cli.text import printable, size, table
from ocimodel.cli.values import duration, from_environment, pairs, rate, signed_annotations
from ocimodel.errors import OcimodelError, UsageError
from tests.commands import World, events, make_world, run

REF = "registry.example/ml/bert:1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


# --- help -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]], ids=["nothing", "long", "short"])
def test_help_lists_the_commands(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv).code == 0
    out = capsys.readouterr().out
    for command in ("push", "pull", "sign", "verify", "attest", "inspect", "tree", "list", "key", "login", "demo"):
        assert f"\n  {command} " in out


@pytest.mark.parametrize(
    "command", ["push", "pull", "sign", "verify", "attest add", "attest show", "demo", "key import"]
)
def test_help_of_a_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), "--help").code == 0
    assert "Examples:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version").code == 0
    assert capsys.readouterr().out == f"ocimodel {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "arranged"),
    [
        pytest.param("--json verify x", "verify x --json", id="a-flag"),
        pytest.param("--plain-http h:1 list x", "list x --plain-http h:1", id="with-a-value"),
        pytest.param("--plain-http=h:1 list x", "list x --plain-http=h:1", id="with-an-equals"),
        pytest.param("--json verify -- x", "verify --json -- x", id="before-the-end-of-options"),
        pytest.param("--json --version", "--version --json", id="no-command"),
        pytest.param("key", "key --help", id="a-group-alone"),
    ],
)
def test_options_of_every_command_may_stand_before_it(typed: str, arranged: str) -> None:
    assert arrange(typed.split()) == arranged.split()


# --- what cannot be meant -------------------------------------------------------------------------------------

MISUSES = [
    pytest.param("frobnicate", "no such command 'frobnicate'", "ocimodel", id="command"),
    pytest.param("psuh d r", "no such command 'psuh'. Did you mean 'push'?", "ocimodel", id="misspelt"),
    pytest.param(f"verify --unknown {REF}", "no such option: --unknown", "ocimodel verify", id="option"),
    pytest.param("push", "missing argument 'DIR'", "ocimodel push", id="argument"),
    pytest.param(
        f"pull {REF}",
        "missing option '--output' / '-o' (env var: 'OCIMODEL_OUTPUT')",
        "ocimodel pull",
        id="required-option",
    ),
    pytest.param(f"attest {REF} --type", "option '--type' requires an argument", "ocimodel attest", id="value"),
    pytest.param("key xyzzy", "no such command 'xyzzy'", "ocimodel key", id="subcommand"),
    pytest.param(f"list {REF} more", "got unexpected extra argument(s) (more)", "ocimodel list", id="too-many"),
]


@pytest.mark.parametrize(("line", "message", "where"), MISUSES)
def test_a_misuse_is_two_lines_and_2(line: str, message: str, where: str) -> None:
    ran = run(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.error == (f"error: {message}", f"hint: See {where} --help.")


@pytest.mark.parametrize(("line", "message", "where"), MISUSES)
def test_a_misuse_with_json_is_a_document(
    line: str, message: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMODEL_JSON", "true")
    document = run(*line.split()).document
    assert document["exitCode"] == 2
    assert document["reasons"] == [{"class": "usage", "reason": "usage", "detail": message}]
    assert document["command"] == where.removeprefix("ocimodel").strip()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(f"verify {REF}", "verify needs a key or a policy", id="verify-without-a-key"),
        pytest.param(
            f"pull {REF} -o d --verify", "--verify needs a key or a policy", id="pull-verify-without-a-key"
        ),
        pytest.param(f"push d {REF} --sign", "push --sign needs a key", id="sign-without-a-key"),
        pytest.param(f"sign {REF}", "sign needs a key", id="sign"),
        pytest.param(f"verify {REF} --key k --policy p", "--key and --policy both say whom to trust", id="policy"),
        pytest.param(
            f"pull {REF} -o d --policy p --key k", "--key and --policy both say whom to trust", id="pull-policy"
        ),
        pytest.param(
            f"sign {REF} --key k --format notation",
            "--format notation needs the certificate of the key",
            id="format",
        ),
        pytest.param(f"sign {REF} --key k --format x", "--format 'x' is not known", id="no-format"),
        pytest.param(
            f"sign {REF} --key k --certificate c",
            "--format sigstore takes no --certificate",
            id="certificate",
        ),
        pytest.param(
            "verify oci: --key k", "bad reference 'oci:': oci: wants the path of a layout", id="no-layout"
        ),
        pytest.param("verify ./nowhere --key k", "there is no directory ./nowhere", id="no-directory"),
        pytest.param(f"pull {REF} -o d --base nowhere", "--base nowhere is not a directory", id="base"),
        pytest.param("list Bert", "bad reference 'Bert': the host is missing", id="no-host"),
        pytest.param(
            f"push d {REF} -a team=x",
            "-a, --expires, --format, --certificate, --timestamp-url and --attest-scan need a key",
            id="remark-unsigned",
        ),
        pytest.param(f"pull {REF} -o d --context a=b", "--context is compared with what was signed", id="context"),
        pytest.param(
            f"verify {REF} --key alice.pub --offline",
            "--offline, but registry.example/ml/bert is in a registry",
            id="offline",
        ),
        pytest.param(
            f"verify {REF} --ref {REF}", "--ref says what a directory was pulled from", id="ref-without-directory"
        ),
        pytest.param(
            f"verify {REF} --key alice.pub --as nohost", "bad reference 'nohost': the host is missing", id="as"
        ),
        pytest.param(f"verify {REF} --key alice.pub --context a", "--context 'a' is not KEY=VALUE", id="pair"),
        pytest.param(
            f"sign {REF} --key alice.key -a io.github.ocimodel.expires=never",
            "-a io.github.ocimodel.expires: keys that begin with io.github.ocimodel. are written by ocimodel alone",
            id="reserved",
        ),
        pytest.param(f"sign {REF} --key alice.key --expires soon", "'soon' is not a duration", id="duration"),
        pytest.param(f"verify {REF} --key=", "--key is empty", id="empty-key"),
        pytest.param(f"pull {REF} -o d --key=", "--key is empty", id="pull-empty-key"),
        pytest.param(f"pull {REF} -o d --policy=", "--policy is empty", id="empty-policy"),
        pytest.param(f"sign {REF} --key=", "--key is empty", id="sign-empty-key"),
        pytest.param(
            "key generate alice --no-password", "alice.key is there already; keys are never overwritten", id="key"
        ),
        pytest.param("key generate n --type dsa --no-password", "'dsa' is no type of key", id="key-type"),
        pytest.param("login registry.example --password-stdin", "--password-stdin needs --username", id="login"),
    ],
)
def test_what_cannot_be_meant_is_2(line: str, message: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    ran = run(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.error[0] == f"error: {message}"
    assert run(*line.split(), "--json").document["outcome"] == "error"


@pytest.mark.parametrize(
    "line", ["verify {ref} --key {key}", "pull {ref} -o d --key {key}"], ids=["verify", "pull"]
)
def test_a_private_key_does_not_verify(line: str, world: World) -> None:
    ran = run(*line.format(ref=world.ref, key=world.key).split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.error == (
        "error: alice.key: that is a private key",
        "hint: Verifying takes the public key, the file that ends in .pub; keep the private one secret.",
    )


def test_a_missing_key_is_11(world: World) -> None:
    assert run("verify", world.ref, "--key", "nowhere.pub").code == 11


# --- the environment ------------------------------------------------------------------------------------------


def test_a_verify_key_in_the_environment_verifies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(world.stranger))
    assert run("pull", world.ref, "-o", world.root / "d").code == 12
    assert run("verify", world.ref).code == 12
    assert run("verify", world.ref, "--key", world.pub).code == 0, "arguments win"


def test_several_keys_in_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", f"{world.stranger} '{world.pub}'")
    assert run("verify", world.ref).code == 0


@pytest.mark.parametrize("name", ["OCIMODEL_VERIFY_KEY", "OCIMODEL_POLICY"])
@pytest.mark.parametrize("value", ["", "  "], ids=["empty", "blank"])
def test_an_empty_variable_never_ends_in_no_check(
    name: str, value: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    ran = run("pull", world.ref, "-o", world.root / "d")
    assert (ran.code, ran.error[0]) == (2, f"error: {name} is set but empty")
    assert not (world.root / "d").exists()


@pytest.mark.parametrize("name", ["OCIMODEL_VERIFY", "OCIMODEL_KEY", "OCIMODEL_NO_VERIFY", "OCIMODEL_FORCE"])
def test_no_variable_turns_verification_off(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0" if name == "OCIMODEL_VERIFY" else "1")
    assert run("pull", world.ref, "-o", world.root / "d", "--key", world.stranger).code == 12


def test_a_policy_in_the_environment_is_not_ignored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_POLICY", str(world.root / "policy.json"))
    ran = run("pull", world.ref, "-o", world.root / "d")
    assert (ran.code, ran.out) == (3, "")
    assert "there is no policy" in ran.err
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(world.pub))
    assert run("pull", world.ref, "-o", world.root / "d").code == 2


def test_a_signing_key_in_the_environment_does_not_imply_sign(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIMODEL_SIGNING_KEY", str(world.key))
    target = f"oci:{world.root}/other:v1"
    assert run("push", world.model, target).code == 0
    assert run("verify", target, "--key", world.pub).code == 10
    assert run("push", world.model, target, "--sign").code == 0
    assert run("verify", target, "--key", world.pub).code == 0


def test_an_option_in_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_JSON", "1")
    monkeypatch.setenv("OCIMODEL_TAG", "latest stable")
    assert run("push", world.model, world.ref).document["tags"] == ["v1", "latest", "stable"]
    assert run("nonsense").document["exitCode"] == 2


# --- values ---------------------------------------------------------------------------------------------------


def test_durations() -> None:
    assert [duration(text).total_seconds() for text in ("30s", "5m", "12h", "90d", "2w")] == [
        30, 300, 43_200, 7_776_000, 1_209_600,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "0d", "1.5h", "1y", "9999999w", "90 d", "٣d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text)


def test_rates() -> None:
    assert [rate(text) for text in ("100", "100B", "1KB", "1.5MiB", "2G", "1MB/s")] == [
        100, 100, 1000, 1.5 * 2**20, 2e9, 1e6,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "0", "fast", "-1", "1TB", "1 MB", "0.0KB"])
def test_no_rates(text: str) -> None:
    with pytest.raises(UsageError):
        rate(text)


def test_pairs() -> None:
    assert pairs(["a=b=c", "d="], "-a") == {"a": "b=c", "d": ""}
    for bad in (["a"], ["=b"], [" a=b"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            pairs(bad, "-a")


def test_reserved_annotations() -> None:
    with pytest.raises(UsageError, match="written by ocimodel alone"):
        signed_annotations(["io.github.ocimodel.x=1"])
    assert signed_annotations(["io.github.ocimodelx=1"]) == {"io.github.ocimodelx": "1"}


def test_a_file_with_a_blank_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my key.pub"
    path.touch()
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", str(path))
    assert from_environment("OCIMODEL_VERIFY_KEY") == [str(path)]
    monkeypatch.setenv("OCIMODEL_VERIFY_KEY", "'unbalanced")
    with pytest.raises(UsageError, match="No closing quotation"):
        from_environment("OCIMODEL_VERIFY_KEY")


# --- output ---------------------------------------------------------------------------------------------------


def test_sizes() -> None:
    assert [size(count) for count in (0, 1023, 1024, 1536, 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "1.0 TiB",
    ]


def test_nothing_from_a_registry_moves_the_cursor() -> None:
    assert printable("a\x1b]0;x\x07\u202eb\n\u2028é") == "a\\x1b]0;x\\x07\\u202eb\\n\\u2028é"


def test_tables_align() -> None:
    assert table(("name", "size"), [("a", "10 B"), ("bcdef", "1 B")], right=(1,)) == [
        "NAME   SIZE",
        "a      10 B",
        "bcdef   1 B",
    ]


def test_errors_have_one_line_each_and_no_secret() -> None:
    ran = run("list", "https://me:hunter2@registry.example/x\nsecond line")
    assert ran.code == 2
    assert "hunter2" not in ran.err
    assert len(ran.err.splitlines()) == 2
    assert "hunter2" not in run("list", "https://me:hunter2@registry.example/x", "--json").out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device", "/x"), 74),
        (OSError(30, "Read-only file system"), 74),
        (PermissionError(13, "Permission denied"), 74),
        (ConnectionResetError(104, "reset"), 75),
        (TimeoutError("late"), 75),
        (KeyboardInterrupt(), 130),
        (Stop(143), 143),
        (EOFError(), 2),
        (KeyError("x"), 1),
        (FileNotFoundError(2, "No such file"), 1),
        (MemoryError(), 1),
        (RecursionError("deep\nand deeper"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_exception_has_an_exit_code(error: BaseException, code: int) -> None:
    failure = describe(error)
    assert failure.exit_code == code
    assert failure.hint
    assert "\n" not in failure.message


def test_an_error_of_ours_is_itself() -> None:
    error = OcimodelError("x")
    assert describe(error) is error


def test_a_console_writes_what_its_stream_can_show(tmp_path: Path) -> None:
    with (
        (tmp_path / "out").open("w", encoding="ascii") as out,
        (tmp_path / "err").open("w", encoding="ascii") as err,
    ):
        console = Console(out, err)
        console.document({"name": "naïve-\udcff"})
        console.line("naïve")
    assert (tmp_path / "out").read_text() == '{\n  "name": "na\\u00efve-\\udcff"\n}\n'
    assert (tmp_path / "err").read_text() == "na\\xefve\n"


def test_a_misuse_leaves_no_event(world: World) -> None:
    run("verify", "--nonsense")
    assert events() == []


def test_a_log_that_cannot_be_written_changes_no_result(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIMODEL_AUDIT_LOG", str(world.root))
    ran = run("verify", world.ref, "--key", world.pub)
    assert ran.code == 0
    assert ran.err.startswith("warning: no audit event: cannot write the audit log")
    monkeypatch.delenv("OCIMODEL_AUDIT_LOG")
    for name in ("OCIMODEL_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/")
    assert "no home directory" in run("verify", world.ref, "--key", world.pub).err
    assert os.environ["HOME"] == "/"


def test_the_table_has_every_command_and_its_module() -> None:
    import typer

    for module in set(COMMANDS.values()):
        alone = set(getattr(typer.main.get_command(commands(module)), "commands", {}))
        assert alone == {word for word, place in COMMANDS.items() if place == module}
    everything = getattr(typer.main.get_command(commands()), "commands", {})
    assert list(everything) == list(COMMANDS)
    assert {word for word, item in everything.items() if hasattr(item, "commands")} == GROUPS

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from ganzoo.cli import group
from ganzoo.errors import GanzooError, UsageError

if TYPE_CHECKING:
    from conftest import Ganzoo, Site

COMMAND = "import click\n@click.command()\n@click.option('--n', type=int)\ndef command(n): {}\n"


def ours(name: str) -> click.Command:
    command: click.Command = importlib.import_module(f"ganzoo.cli.{name}").command
    return command


@pytest.mark.parametrize("name", group.COMMANDS)
def test_each_command_has_its_file_and_its_help(name: str) -> None:
    assert ours(name).name == name
    assert ours(name).help
    assert all(parameter.help for parameter in ours(name).params if isinstance(parameter, click.Option))


def test_help_lists_every_command(ganzoo: Ganzoo) -> None:
    for args in ((), ("--help",), ("-h",)):
        done = ganzoo(*args)
        assert done.returncode == 0
        assert all(f"  {name}  " in done.stdout for name in group.COMMANDS)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("trian",), "ganzoo: there is no command 'trian'. Did you mean 'train'? Commands: train, "),
        (("list", "--jsno"), "ganzoo: No such option '--jsno'."),
        (("info",), "ganzoo: Missing argument 'KIND'. (see 'ganzoo info --help')"),
        (("list", "a", "b", "c"), "ganzoo: Got unexpected extra argument (c)"),
        (("--nonsense",), "ganzoo: No such option '--nonsense'."),
    ],
)
def test_usage_errors_are_one_line(args: tuple[str, ...], message: str, ganzoo: Ganzoo) -> None:
    done = ganzoo(*args)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("statement", "code", "line"),
    [
        ("raise GanzooError('the disk\\n is full')", 1, "ganzoo: the disk is full"),
        ("raise UsageError('no')", 2, "ganzoo: no"),
        ("raise ValueError('odd')", 1, "ganzoo: ValueError: odd (run again with --traceback to see where)"),
        ("raise click.BadParameter('bad')", 2, "ganzoo: Invalid value: bad (see 'ganzoo mine --help')"),
        ("raise KeyboardInterrupt", 130, None),
        ("raise SystemExit(7)", 7, None),
        ("return 3", 3, None),
        ("return 'done'", 0, None),
        ("click.get_current_context().exit(5)", 5, None),
    ],
)
def test_how_a_command_ends(
    statement: str, code: int, line: str | None, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add(
        "ganzoo-a",
        "from ganzoo.errors import *\n" + COMMAND.format(statement),
        group="ganzoo.commands",
        entry="mine = MODULE:command",
    )
    with pytest.raises(SystemExit) as left:
        group.main(["mine"])
    assert left.value.code == code
    assert [text for text in capsys.readouterr().err.splitlines() if text] == ([line] if line else [])


def test_traceback_wherever_it_stands(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("ganzoo-a", COMMAND.format("raise ValueError('odd')"), group="ganzoo.commands", entry="mine = MODULE:command")
    for args in (["--traceback", "mine", "--n", "3"], ["mine", "--n", "3", "--traceback"]):
        assert group.run(args) == 1
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert err.endswith("ganzoo: ValueError: odd\n")


def test_commands_of_plugins(site: Site, ganzoo: Ganzoo) -> None:
    site.add(
        "ganzoo-a", COMMAND.format("print('n is', n)"), group="ganzoo.commands", entry="mine = MODULE:command\nlist = MODULE:no"
    )
    site.add("ganzoo-b", "print('loaded')\nraise ValueError('broken')\n", group="ganzoo.commands", entry="bad = MODULE:command")
    site.add("ganzoo-c", "x = 3\n", group="ganzoo.commands", entry="odd = MODULE:x\ntwice = MODULE:x")
    site.add("ganzoo-d", "raise SystemExit\n", group="ganzoo.commands", entry="exits = MODULE:x\ntwice = MODULE:x")
    shown = ganzoo("--help")
    assert (shown.returncode, shown.stderr) == (0, "")  # a broken one costs itself, and only when it is called
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert {"mine From ganzoo-a.", "bad From ganzoo-b."} <= set(lines)
    assert "List the components that are installed." in shown.stdout
    assert ganzoo("mine", "--n", "3").stdout == "n is 3\n"
    assert ganzoo("list", "--json").returncode == 0  # ours, whatever a plugin calls its own
    for name, message in (
        ("bad", "the command 'bad' of ganzoo-b could not be loaded: ValueError: broken"),
        ("odd", "the command 'odd' of ganzoo-c could not be loaded: TypeError: "),
        ("exits", "the command 'exits' of ganzoo-d could not be loaded: SystemExit"),
        ("twice", "the command 'twice' is offered by ganzoo-c and ganzoo-d: uninstall all but one"),
    ):
        done = ganzoo(name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith(f"ganzoo: {message}")
    assert ganzoo("mine", GANZOO_PLUGINS="").returncode == 2
    assert "Did you mean 'mine'?" in ganzoo("mein").stderr


@pytest.mark.parametrize("command", ["list --json", "late"])
def test_a_closed_pipe_is_quiet(command: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    late = COMMAND.format("__import__('time').sleep(0.3); print('x')")  # still in the buffer when the command is over
    site.add("ganzoo-a", late, group="ganzoo.commands", entry="late = MODULE:command")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ganzoo {command} | true"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_a_name_outside_the_terminals_encoding(site: Site, ganzoo: Ganzoo) -> None:
    body = (
        "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('loss', 'x', 'json:dumps', summary='a cat: \\u732b')\n"
    )
    site.add("ganzoo-a", body)
    done = ganzoo("list", "loss", "x", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "loss  x  ganzoo-a 1.0  a cat: ?\n")


def test_python_m_and_the_script_are_one(ganzoo: Ganzoo) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "ganzoo")
    done = subprocess.run([script, "list", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(ganzoo("list", "--json").stdout)


def test_exit_codes_of_our_errors() -> None:
    assert (GanzooError.exit_code, UsageError.exit_code) == (1, 2)

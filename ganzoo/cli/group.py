"""The command `ganzoo`: which commands there are, and how failures become one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ganzoo import __version__
from ganzoo.errors import GanzooError, PluginError, UsageError, did_you_mean
from ganzoo.training import launched

# The module is ganzoo.cli.NAME, the command in it `command`; the lines of help stand here, so that --help imports none of them.
COMMANDS: dict[str, str] = {
    "train": "Train a GAN.",
    "resume": "Go on with a run that was stopped.",
    "sample": "Draw samples from a run or an exported model.",
    "translate": "Make images from images: another style, another domain.",
    "upscale": "Enlarge images.",
    "synthesize": "Write a labelled data set of samples, to train on.",
    "export": "Write a run's generator as a model to share.",
    "eval": "Hold samples against real data: FD, KID, precision, recall and more.",
    "runs": "List runs: state, progress, speed.",
    "arena": "Train every combination of some parts, and rank them.",
    "explore": "Walk through a generator's latent space.",
    "anomaly": "Score images by what a generator cannot make again.",
    "bench": "Run experiments whose protocols are written down.",
    "list": "List the components that are installed.",
    "search": "Find components by a word, also by the names that papers use.",
    "install": "Print the pip command that installs a plugin of the catalogue.",
    "info": "Show one component and its options.",
    "doctor": "Check Python, torch, devices and every plugin.",
    "new": "Write a plugin: a package to fill in.",
    "check": "Hold a plugin to ganzoo's contracts.",
    "catalog": "Check a catalogue of plugins, or write a plugin's entry for it.",
}


class Commands(click.Group):
    """Our commands and those of plugins (the entry-point group `ganzoo.commands`), imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in sorted(_from_plugins()) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"ganzoo.cli.{cmd_name}").command
            return command
        return _load_from_plugin(cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            raise UsageError(f"there is no command '{args[0]}'.{did_you_mean(args[0], known)} Commands: {', '.join(known)}.")
        for before, arg in itertools.pairwise(args):
            if args[0] in COMMANDS and not arg.strip():
                raise UsageError(f"there is nothing after '{before}': an empty text is no value; give one, or leave it out")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        offered = sorted(_from_plugins().items())
        further = {name: f"From {', '.join(dist for dist, _ in offers)}." for name, offers in offered}
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *((name, line) for name, line in further.items() if name not in COMMANDS)])


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
@click.version_option(__version__, prog_name="ganzoo")
@click.pass_context
def ganzoo(ctx: click.Context, traceback: bool) -> None:
    """A zoo of GANs: exchangeable parts, from plugins, and one trainer."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 failure while working, 2 usage, 130 stopped by Ctrl-C."""
    code = run(sys.argv[1:] if args is None else args)
    if launched():  # and others beside this process
        from ganzoo.training import distributed

        distributed.leave(code)
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code. What goes wrong is one line on stderr, after the trace with --traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name outside the terminal's encoding is no reason to fail
    trace = "--traceback" in args  # wherever it stands: it is added after the fact
    try:
        code: Any = ganzoo.main([arg for arg in args if arg != "--traceback"], prog_name="ganzoo", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush would complain
        return 1
    except Exception as err:
        return _report(err, trace)


def _report(err: Exception, trace: bool) -> int:
    if trace:
        import traceback

        traceback.print_exception(err)
    code, message, hint = 1, f"{type(err).__name__}: {err}", " (run again with --traceback to see where)"
    if isinstance(err, GanzooError):
        code, message, hint = err.exit_code, str(err), ""
    elif isinstance(err, click.ClickException):
        ctx = getattr(err, "ctx", None)
        code, message = err.exit_code, err.format_message()
        hint = f" (see '{ctx.command_path} --help')" if ctx is not None else ""
    message = f"{' '.join(message.split())}{'' if trace else hint}"
    with contextlib.suppress(OSError):  # stderr may be a file on the disk that is full
        if launched():
            from ganzoo.training import distributed

            distributed.last_words(code, err, message)
        else:
            print(f"ganzoo: {message}", file=sys.stderr)
    return code


def _from_plugins() -> dict[str, Any]:
    from ganzoo.registry import commands

    return commands()


def _load_from_plugin(name: str) -> click.Command | None:
    from ganzoo.registry import commands, one_line, stdout_to_stderr

    offers = commands().get(name, [])
    if not offers:
        return None
    if len(offers) > 1:
        raise PluginError(
            f"the command '{name}' is offered by {' and '.join(dist for dist, _ in offers)}: uninstall all but one"
        )
    [(dist, point)] = offers
    try:
        with stdout_to_stderr():
            command = point.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"{point.value} is no click command but {type(command).__name__}")
    except KeyboardInterrupt:
        raise
    except BaseException as err:
        raise PluginError(f"the command '{name}' of {dist} could not be loaded: {one_line(err)}") from err
    return command

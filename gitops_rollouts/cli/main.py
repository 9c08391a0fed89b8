"""``gor``: the entry point, the list of commands, and how an error reaches the person who typed.

A command's module exports ``register(app)``. It imports typer and the standard library at most; what is heavy is
imported inside the command, so that ``gor --help`` and shell completion answer at once.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from importlib import import_module
from typing import Annotated, Final

import typer

from gitops_rollouts import __version__
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.errors import GorError

MODULES: Final = (
    *("get", "list", "status", "why", "log"),
    *("promote", "abort", "retry", "withdraw", "undo"),
    *("set_image", "set", "pause", "resume", "restart", "terminate", "create", "allow_prune"),
    *("validate", "lint", "render", "diff", "verify", "analysis", "doctor", "plugins"),
    *("run", "crds", "migrate"),
    *("demo", "cluster", "completion"),
)
"""The command modules, in the order in which ``--help`` lists them."""

HELP: Final = """From a Git repository to a progressively delivered workload, and back into Git.

[bold]gor run[/bold] keeps a cluster at what Git says and moves every Rollout forward,
step by step. A push starts a rollout, a merge promotes it, a failed canary
becomes a commit, [bold]git revert[/bold] rolls back.

\b
  gor get rollouts          what runs, how far it is, who it waits for
  gor why web               in a paragraph: what Git wants, what serves, why
  gor log web               who decided what, when, why, on what evidence
  gor promote web           let the canary go on: writes the line into Git
  gor abort web             back to the stable version now
  gor validate envs/prod    check manifests before a push, without a cluster
  gor demo                  the whole loop on this machine, to try it
"""
EPILOG: Final = """\b
Exit codes: 0 ok, 1 the answer is no (Degraded, problems, a difference),
2 usage, 3 cluster, 4 Git, 5 time-out, 6 not found, 7 not finished yet,
8 inconclusive, 9 could not be measured, 70 a bug (run again with --debug), 130 interrupted
"""

_debug: ContextVar[bool] = ContextVar("debug", default=False)


class _InOrder(typer.core.TyperGroup):
    """Lists commands in the order of `MODULES`; typer itself puts groups last."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override] # typer's Context is click's
        order = {module.replace("_", "-"): position for position, module in enumerate(MODULES)}
        return sorted(super().list_commands(ctx), key=lambda name: order.get(name, len(order)))


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="gor",
        cls=_InOrder,
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_global_options)
    for name in MODULES:
        import_module(f"gitops_rollouts.cli.{name}").register(app)
    return app


def run() -> None:
    """The console script: run one command, print an error as one paragraph, end with its exit code."""
    try:
        build()()
    except GorError as error:
        if _debug.get():
            raise
        _print_error(error)
        sys.exit(exit_codes.code_for(error))
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)
    except Exception as error:
        if _debug.get():
            raise
        from gitops_rollouts.cli.output import clean

        print(clean(f"gor: this is a bug: {type(error).__name__}: {error}"), file=sys.stderr)
        print("Run the same command as `gor --debug …` and report what it prints.", file=sys.stderr)
        sys.exit(exit_codes.BUG)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gor {__version__} (Python {sys.version_info[0]}.{sys.version_info[1]})")
        raise typer.Exit


def _global_options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="GOR_DEBUG", help="Show the traceback of an error.", show_default=False)
    ] = False,
) -> None:
    del version  # its callback has ended the program
    _debug.set(debug)


def _print_error(error: GorError) -> None:
    from gitops_rollouts.cli.output import clean

    lines = [f"gor: {clean(_without_remedy(error))}"]
    if error.remedy:
        lines.append(f"  → {clean(error.remedy)}")
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    text = "\n".join(lines)
    print(f"\x1b[31m{text}\x1b[0m" if colour else text, file=sys.stderr)


def _without_remedy(error: GorError) -> str:
    whole = str(error)
    return whole.removesuffix(f" ({error.remedy})") if error.remedy else whole


if __name__ == "__main__":
    run()

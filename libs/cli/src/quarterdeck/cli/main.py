"""The entry point of `quarterdeck` and `qd`: which verbs there are, and how their errors are told.

Owns the table of verbs, the exit code of an error and one line of text for it. Verbs are imported when they are called.
"""

import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Group, Parameter, UnknownOptionError

from quarterdeck.contracts.errors import QuarterdeckError

_RUNS = Group("Runs", sort_key=1)
_FLEET = Group("Fleet", sort_key=2)
_SYSTEM = Group("System", sort_key=3)

_VERBS = (
    (_RUNS, "run", "run:run", "Run a command on many machines and watch it."),
    (_RUNS, "ls", "ls:ls", "List the latest runs."),
    (_RUNS, "get", "get:get", "Show where a run or a command stands."),
    (_RUNS, "tail", "tail:tail", "Show the output of a run or a command."),
    (_RUNS, "cancel", "cancel:cancel", "Cancel runs or commands, provably."),
    (_FLEET, "agents", "agents:app", "List the machines; register and revoke some."),
    (_FLEET, "vm", "vm:app", "List virtual machines; run commands in them, press their keys."),
    (_FLEET, "token", "token:app", "Make, list and revoke tokens."),
    (_FLEET, "agent", "agent:app", "Run the agent of this machine."),
    (_SYSTEM, "up", "up:up", "Start the whole system on this machine."),
    (_SYSTEM, "rebuild", "rebuild:rebuild", "Rebuild lost state from the log of events."),
    (_SYSTEM, "doctor", "doctor:doctor", "Look for what is wrong, and say what helps."),
)


def _app(called: str | None) -> App:
    """Every verb. Help of all of them is the table's, so that none is imported; that of `called` is its own."""
    app = App(
        name="qd",
        help="Give an order to any machine over any wire, and see every answer as it happens.",
        version=lambda: version("quarterdeck-cli"),
        default_parameter=Parameter(negative="", show_default=False),  # docstrings tell defaults in words
    )
    for group, name, target, summary in _VERBS:
        own = {} if name == called else {"help": summary}
        app.command(f"quarterdeck.cli.verbs.{target}", name=name, group=group, **own)
    return app


def main() -> None:
    """Never returns; exit codes as in exit_codes.py."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Runs one verb and returns the exit code."""
    try:
        app = _app(arguments[0] if arguments else None)
        result = app(arguments, result_action="return_value", exit_on_error=False)
    except CycloptsError as error:
        # cyclopts has told it; its own exit code, 2, means "some failed" here
        if isinstance(error, UnknownOptionError) and arguments[0] in {"run", "vm"} and "--" not in arguments:
            print("Options of the command itself go behind --, as in: -- ls --all", file=sys.stderr)
        return 1
    except QuarterdeckError as error:
        print("quarterdeck:", _told(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `qd ls | head`
        sys.stderr.close()
        return 0
    return result if isinstance(result, int) else 0


def _told(error: QuarterdeckError) -> str:
    from quarterdeck.cli.hints import hint

    return f"{error.message}{hint(error)}"

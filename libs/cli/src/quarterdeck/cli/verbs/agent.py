"""`qd agent`: the agent of this machine. Its flags are the agent's own; see `qd agent --help`."""

from typing import Annotated

from cyclopts import App, Parameter

app = App(name="agent", help="Run the agent of this machine.", help_flags=(), version_flags=())


@app.default
def agent(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> int:
    """Run the agent of this machine."""
    from quarterdeck.agent.main import main

    return main(list(arguments))

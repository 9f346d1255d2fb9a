"""House rules that ruff, mypy and import-linter cannot express: one file per rule, which says why.

`python -m tools.linters` (a part of `just lint`) prints findings as `path:line: rule: message`. A rule is a
module with `NAME` and `check(source) -> Iterator[Finding]`, listed in `__main__`.
"""

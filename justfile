# Every task of the project. `just` lists them; CI calls nothing else.

set shell := ["bash", "-euo", "pipefail", "-c"]

python := ".venv/bin/python"
stamp := ".venv/.quarterdeck-installed"

# List the tasks.
_default:
    @just --list --unsorted

# Make .venv with the locked packages and our own members, editable. Quick when nothing changed.
[group('set-up')]
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ -f {{ stamp }} ]]; then
        changed=$(find requirements.lock pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml -newer {{ stamp }})
        [[ -n $changed ]] || exit 0
    fi
    [[ -x {{ python }} ]] || uv venv --quiet --python 3.11 .venv
    echo "Installing the locked packages into .venv"
    uv pip install --quiet --python {{ python }} --requirements requirements.lock
    members=()
    for member in libs/*/ services/*/; do members+=(--editable "$member"); done
    uv pip install --quiet --python {{ python }} --no-deps --no-build-isolation "${members[@]}"
    touch {{ stamp }}

# Pin the ranges of all members in requirements.lock, third-party only, with hashes; `--upgrade` takes newer ones.
[group('set-up')]
lock *options:
    #!/usr/bin/env bash
    set -euo pipefail
    ours=()
    for member in libs/*/ services/*/; do ours+=(--no-emit-package "quarterdeck-$(basename "$member")"); done
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        "${ours[@]}" --group dev libs/*/pyproject.toml services/*/pyproject.toml \
        --output-file requirements.lock {{ options }}

# Format the code and sort imports.
[group('code')]
fmt: setup
    .venv/bin/ruff format
    .venv/bin/ruff check --fix --quiet || true

# Everything that is checked without running the product.
[group('code')]
lint: setup
    .venv/bin/ruff check
    .venv/bin/ruff format --check --quiet
    {{ python }} -m tools.linters
    .venv/bin/lint-imports --no-logo
    {{ python }} tools/protos.py --check
    .venv/bin/mypy

# Compile protos/ into quarterdeck.wire.
[group('code')]
protos: setup
    {{ python }} tools/protos.py

# Lint, then every test on two workers: end-to-end tests on one, chaos tests on the other, the rest where there is room.
[group('tests')]
test *options: lint _debian
    .venv/bin/pytest --numprocesses 2 {{ options }}

# The quick tests: no servers, no processes of ours.
[group('tests')]
unit *options: setup
    .venv/bin/pytest tests/unit {{ options }}

# The six services as real processes, real agents, real brokers.
[group('tests')]
e2e *options: setup _debian
    .venv/bin/pytest tests/e2e {{ options }}

# Debian packages that tests start programs of, such as a browser, and the guest that tests boot.
_debian: setup
    {{ python }} tools/debian.py
    {{ python }} -m tools.guest_image

# Take one safety away at a time, and demand that the suite notices; a word chooses some of tools/mutations.py.
[group('tests')]
mutations *words: setup
    {{ python }} -m tools.mutation_check {{ words }}

# Which requirements no test names yet.
[group('tests')]
requirements: setup
    {{ python }} tests/requirements.py

# Start the whole system and leave it running; Ctrl-C stops it. Options replace the four local agents.
[group('run')]
up *options="--agents 4": setup
    .venv/bin/quarterdeck up {{ options }}

# Start the whole system with four agents, run and stop batches on them, and leave nothing behind.
[group('run')]
demo: setup
    {{ python }} -m quarterdeck.cli.demo

# Measure the product beside the raw limits of the same hops; under ten minutes on two cores.
[group('run')]
bench *options: setup _debian
    {{ python }} -m tests.benchmarks {{ options }}

# Kill and stop random processes of a system under load, and print a verdict per invariant. Options: --minutes N --seed S.
[group('tests')]
chaos *options: setup
    {{ python }} -m tests.chaos {{ options }}

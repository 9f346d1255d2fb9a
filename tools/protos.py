"""Compiles the native agent protocol into quarterdeck.wire, or checks that the committed code is current.

Owns the list of proto files and where their code goes. `just protos` runs it; `just lint` runs it with
`--check`. The descriptor keeps the file name `quarterdeck/agent/v1/agent.proto`: it is part of the
protocol's identity, while the Python package is only where the code lives.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS_DIR = ROOT / "protos"

GENERATED: dict[str, Path] = {
    "quarterdeck/agent/v1/agent.proto": ROOT / "libs/wire/src/quarterdeck/wire/agent_v1",
    "agent_service/agent_service.proto": ROOT / "libs/wire/src/quarterdeck/wire/agent_service",
    "deepflow/agent.proto": ROOT / "libs/wire/src/quarterdeck/wire/deepflow",
    "quic/backbone/v1/backbone.proto": ROOT / "libs/wire/src/quarterdeck/wire/backbone_v1",
}
"""Proto file, relative to protos/, and the package directory of its code."""


def compile_proto(proto: str, output_dir: Path) -> None:
    """Writes the `.py` and `.pyi` of `proto` into `output_dir`. Raises RuntimeError when protoc refuses."""
    # Imported here so that `--help` works in an environment without the development tools.
    import grpc_tools
    from grpc_tools import protoc

    bundled = Path(grpc_tools.__file__).parent / "_proto"
    mypy_plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTOS_DIR}",
                f"--proto_path={bundled}",
                f"--plugin=protoc-gen-mypy={mypy_plugin}",
                f"--python_out={scratch}",
                f"--mypy_out=quiet:{scratch}",
                proto,
            ]
        )
        if code != 0:
            raise RuntimeError(f"protoc ended with {code} on {proto}")
        output_dir.mkdir(parents=True, exist_ok=True)
        compiled = Path(scratch, proto).with_suffix("")
        for suffix in (".py", ".pyi"):
            generated = compiled.with_name(f"{compiled.name}_pb2{suffix}")
            (output_dir / generated.name).write_bytes(generated.read_bytes())


def stale_files() -> list[Path]:
    """Committed files that differ from what the protos compile to, or are missing."""
    stale = []
    for proto, package_dir in GENERATED.items():
        with tempfile.TemporaryDirectory() as scratch:
            compile_proto(proto, Path(scratch))
            for fresh in sorted(Path(scratch).iterdir()):
                committed = package_dir / fresh.name
                if not committed.exists() or committed.read_bytes() != fresh.read_bytes():
                    stale.append(committed)
    return stale


def main() -> int:
    """Returns the exit code: 1 when `--check` found stale code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the committed code is current")
    if parser.parse_args().check:
        stale = stale_files()
        for path in stale:
            print(f"{path.relative_to(ROOT)}: not current, run `just protos`")
        return 1 if stale else 0
    for proto, package_dir in GENERATED.items():
        compile_proto(proto, package_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())

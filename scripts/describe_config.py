"""Write the reference of the config keys, docs/config.md."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page from the schema and config.yaml."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--schema",
        type=Path,
        default=ROOT / "workflow/schemas/config.schema.yaml",
        help="JSON schema of the config, as YAML",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "config.yaml",
        help="config file with the shipped values",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs/config.md", help="page to write")
    args = parser.parse_args(argv)

    import yaml
    from balle2017.files import write_bytes
    from balle2017.pipeline.config_reference import config_reference

    schema, config = (
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (args.schema, args.config)
    )
    write_bytes(args.out, config_reference(schema, config).encode())


if __name__ == "__main__":
    cli.run(main)

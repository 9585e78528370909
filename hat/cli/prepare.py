"""hat-prepare: parallel text → a data-bin folder that training reads."""

import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from hat.cli.command import run_command


def _load() -> tuple[type[BaseModel], Callable[..., object]]:
    from hat.recipes.prepare import PrepareConfig, prepare

    return PrepareConfig, prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return run_command(
        name="hat-prepare",
        description="Tokenise parallel text, build vocabularies, and write token ids that training maps into memory.",
        example="hat-prepare configs/multi30k/prepare.yaml workers=4",
        load=_load,
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())

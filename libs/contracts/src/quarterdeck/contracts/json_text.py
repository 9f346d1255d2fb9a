"""JSON text that is passed on as it came: can it be read at all, and are two of them the same?

Whoever embeds a text without reading it leaves its flaws to the next one. Called where such a text comes in.
"""

import msgspec

from quarterdeck.contracts.errors import InvalidInput


def check_json(text: bytes, field: str) -> None:
    """Raises InvalidInput naming `field`: no JSON, a number that nothing can hold, nested too deeply."""
    _read(text, field)


def canonical_json(text: bytes, field: str) -> bytes:
    """The one form of all texts that mean the same. Raises as `check_json`."""
    return msgspec.json.encode(_read(text, field), order="sorted")


def _read(text: bytes, field: str) -> object:
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise InvalidInput(f"{field}: nested too deeply", field=field) from error
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}", field=field) from error

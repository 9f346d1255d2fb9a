"""Messages of every version are understood for ever."""

import pytest

from quarterdeck.contracts import codec
from quarterdeck.contracts.errors import DecodeError
from tests.unit.contracts.samples import GOLDEN, SAMPLES


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_golden_bytes_decode_to_the_sample_and_encode_to_the_same_bytes(name: str) -> None:
    """S1-25: what another version wrote is read, and what we write is what it reads."""
    kind, value = SAMPLES[name]
    raw = bytes.fromhex((GOLDEN / f"{name}.msgpack.hex").read_text())

    assert codec.Decoder(kind).decode(raw) == value
    assert codec.encode(value) == raw


def test_every_golden_file_has_its_sample() -> None:
    assert {path.name.removesuffix(".msgpack.hex") for path in GOLDEN.iterdir()} == set(SAMPLES)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_message_cut_anywhere_is_a_decode_error(name: str) -> None:
    """S0-28: no prefix of a message is taken for a message, and nothing but DecodeError comes out."""
    kind, _ = SAMPLES[name]
    raw = bytes.fromhex((GOLDEN / f"{name}.msgpack.hex").read_text())
    decoder: codec.Decoder[object] = codec.Decoder(kind)

    for length in range(len(raw)):
        with pytest.raises(DecodeError):
            decoder.decode(raw[:length])


def test_an_oversized_message_is_refused_before_it_is_decoded() -> None:
    kind, value = SAMPLES["command_spec_1"]

    with pytest.raises(DecodeError, match="limit 10"):
        codec.Decoder(kind, max_bytes=10).decode(codec.encode(value))


def test_an_unknown_tag_is_a_decode_error() -> None:
    kind, _ = SAMPLES["dispatch_chunk_1"]

    with pytest.raises(DecodeError):
        codec.Decoder(kind).decode(codec.encode({"type": "dispatch_chunk/9"}))

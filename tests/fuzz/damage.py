"""Bytes and texts that nobody of ours writes: what the decoders' tests feed them.

Half of them are real messages with something wrong, because pure noise rarely gets past a decoder's first byte.
"""

from collections.abc import Sequence

from hypothesis import strategies as st


def damaged(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of `samples`, cut, changed, doubled or with noise inside; or noise alone, up to 200 bytes."""
    return st.one_of(st.binary(max_size=200), st.sampled_from(samples).flatmap(_damage))


def _damage(sample: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, max(0, len(sample) - 1))
    return st.one_of(
        places.map(lambda at: sample[:at]),
        st.tuples(places, st.integers(1, 255)).map(
            lambda change: (
                sample[: change[0]]
                + bytes(byte ^ change[1] for byte in sample[change[0] : change[0] + 1])
                + sample[change[0] + 1 :]
            )
        ),
        st.tuples(places, st.binary(min_size=1, max_size=8)).map(
            lambda noise: sample[: noise[0]] + noise[1] + sample[noise[0] :]
        ),
        st.just(sample + sample),
    )


def hostile_texts(*samples: str) -> st.SearchStrategy[str]:
    """Any text; `samples` with a piece of it; and what tends to be special to somebody."""
    special = st.sampled_from(
        [
            "",
            "*",
            ">",
            ".",
            "_",
            "a.b",
            "a\r\nb",
            "\x00",
            "{s01}",
            "-",
            "1-",
            "-1",
            "９-９",
            "a" * 65,
            "é" * 64,
        ]
    )
    text = st.text(max_size=80)
    strategies = [text, special]
    if samples:
        sample = st.sampled_from(samples)
        strategies.append(
            st.tuples(sample, st.integers(0, 80), text).map(
                lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
            )
        )
    return st.one_of(strategies)

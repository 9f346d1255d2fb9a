"""Bulk output makes room for others, and only for them."""

from quarterdeck.gateway.output_pace import BULK_BYTES, MAX_REST_S, REST_FACTOR, SHARED_FOR_S, OutputPace


def _bulk(pace: OutputPace, sequence: int) -> None:
    pace.rest_s(sequence=sequence, size_bytes=BULK_BYTES + 1, now_s=0.0, took_s=0.01)


def test_a_stream_that_is_alone_never_rests() -> None:
    """I9: the price is paid when somebody gains by it."""
    pace = OutputPace()
    _bulk(pace, 1)
    rests = [pace.rest_s(sequence=n, size_bytes=1, now_s=n / 10, took_s=0.01) for n in range(2, 50)]
    assert set(rests) == {0.0}


def test_a_stream_rests_in_proportion_while_others_write() -> None:
    """I9: one slow consumer, or one that prints without end, never delays another."""
    pace = OutputPace()
    _bulk(pace, 1)
    assert pace.rest_s(sequence=5, size_bytes=1, now_s=1.0, took_s=0.01) == 0.01 * REST_FACTOR
    assert pace.rest_s(sequence=6, size_bytes=1, now_s=1.1, took_s=0.02) == 0.02 * REST_FACTOR
    assert pace.rest_s(sequence=7, size_bytes=1, now_s=1.2, took_s=9.0) == MAX_REST_S
    assert pace.rest_s(sequence=8, size_bytes=1, now_s=1.0 + SHARED_FOR_S, took_s=0.01) == 0.0


def test_a_short_answer_never_rests() -> None:
    """However busy the feed is."""
    pace = OutputPace()
    rests = [pace.rest_s(sequence=10 * n, size_bytes=1000, now_s=n / 100, took_s=0.01) for n in range(100)]
    assert set(rests) == {0.0}

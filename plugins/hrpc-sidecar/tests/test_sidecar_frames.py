"""Frames of an event stream, however they are cut into pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
import sidecar_reference
from hypothesis import given
from hypothesis import strategies as st

from hrpc_sidecar import FrameTooLarge
from hrpc_sidecar.frames import Frame, Frames


def parsed(chunks: Iterable[bytes], limit: int = 1 << 20) -> list[Frame]:
    frames = Frames(limit)
    found = [frame for chunk in chunks for frame in frames.feed(chunk)]
    return [*found, *frames.end()]


def in_pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        pytest.param(b"event: a\nid: 7\ndata: x\n\n", [Frame("a", "7", b"x")], id="fields"),
        pytest.param(b"data:x\n\n", [Frame("", "", b"x")], id="without a space"),
        pytest.param(b"data:  x \n\n", [Frame("", "", b" x ")], id="one leading space is stripped, and only that"),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", [Frame("", "", b"a\n\nb")], id="data lines are joined"),
        pytest.param(b"data: a:b\n\n", [Frame("", "", b"a:b")], id="a colon in the data"),
        pytest.param(b": hello\ndata: x\n:\n\n", [Frame("", "", b"x")], id="comments"),
        pytest.param(b"data\nevent\nid\nnothing\n\ndata: x\n\n", [Frame("", "", b"x")], id="no colon, no field"),
        pytest.param(b"retry: 5\nData: y\n data: z\n\n", [], id="other fields"),
        pytest.param(b"event: a\n\n", [Frame("a", "", None)], id="an event without data"),
        pytest.param(b"id: 1\n\ndata: x\n\n", [Frame("", "", b"x")], id="an id alone is no frame"),
        pytest.param(b"event: a\nevent: b\n\n", [Frame("b", "", None)], id="the last one of a field counts"),
        pytest.param(b"event: a\r\ndata: x\r\n\r\n", [Frame("a", "", b"x")], id="CRLF"),
        pytest.param(b"event: a\rdata: x\r\r", [Frame("a", "", b"x")], id="CR"),
        pytest.param(b"data: x\n\r\ndata: y\r\n\n", [Frame("", "", b"x"), Frame("", "", b"y")], id="mixed ends"),
        pytest.param(b"\n\n\n\ndata: x\n\n\n\n", [Frame("", "", b"x")], id="blank lines"),
        pytest.param(b"data: x\n\ndata: y", [Frame("", "", b"x"), Frame("", "", b"y")], id="no blank line at the end"),
        pytest.param(b"data: x\n", [Frame("", "", b"x")], id="one end of a line at the end"),
        pytest.param(b"\xef\xbb\xbfdata: x\n\n", [Frame("", "", b"x")], id="byte order mark"),
        pytest.param(b"\n\n\xef\xbb\xbfdata: x\n\n", [], id="a byte order mark elsewhere is none"),
        pytest.param("event: ü\ndata: €\n\n".encode(), [Frame("ü", "", "€".encode())], id="UTF-8"),
        pytest.param(b"event: \xff\n\n", [Frame("�", "", None)], id="no UTF-8"),
        pytest.param(b"", [], id="nothing"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_each_rule_holds_wherever_chunks_are_cut(stream: bytes, frames: list[Frame], size: int) -> None:
    assert parsed(in_pieces(stream, size)) == frames
    assert sidecar_reference.frames(stream) == frames


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1 << 10, 65_535, 1 << 22])
def test_frames_over_64_kib_are_whole(ends: bytes, size: int) -> None:
    data = b"x" * 300_000
    stream = ends.join([b"event: a", b"data: " + data, b"data: " + data, b"", b"data: y", b"", b""])
    assert parsed(in_pieces(stream, size)) == [Frame("a", "", data + b"\n" + data), Frame("", "", b"y")]


def test_a_frame_in_single_bytes_takes_time_that_grows_with_its_size_only() -> None:
    # With each byte copying those before it, this would copy 125 GB.
    assert parsed(in_pieces(b"data: " + b"x" * 500_000 + b"\n\n", 1)) == [Frame("", "", b"x" * 500_000)]
    assert parsed([b"data:\n" * 170_000, b"\n"], limit=1 << 21) == [Frame("", "", b"\n" * 169_999)]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
def test_a_frame_over_the_limit_is_refused_after_those_before_it(size: int, end: bytes) -> None:
    stream = b"data: x\n\nevent: big\nid: 9\ndata: " + b"y" * 100 + end
    frames = Frames(64)
    found: list[Frame] = []
    with pytest.raises(FrameTooLarge, match=r"'big' with id '9'.*more than 64 bytes") as raised:
        for chunk in in_pieces(stream, size):
            found.extend(frames.feed(chunk))
        found.extend(frames.end())
    assert found == [Frame("", "", b"x")]
    assert raised.value.payload.startswith("y")


@pytest.mark.parametrize("comment", [b": beat\n", b"nothing\n", b": beat\r\n", b":" + b"x" * 200 + b"\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_no_field_counts_for_no_limit_and_is_not_kept(comment: bytes, size: int) -> None:
    frames = Frames(64)
    kept = 0
    found: list[Frame] = []
    for chunk in in_pieces(b"data: a\n" + comment * 100 + b"data: b\n\n", size):
        found.extend(frames.feed(chunk))
        kept = max(kept, sum(map(len, frames._pending)))
    assert found == [Frame("", "", b"a\nb")]
    assert kept <= 64 + 64 + size


def test_a_comment_without_an_end_is_not_kept() -> None:
    frames = Frames(64)
    for _ in range(1000):
        assert list(frames.feed(b": and so on")) == []
        assert sum(map(len, frames._pending)) < 200
    assert list(frames.feed(b"\ndata: x\n\n")) == [Frame("", "", b"x")]


LINES = st.one_of(
    st.sampled_from([b"", b"data", b"event: connected", b"data: ok", b":", b"data:", b"id: 3", b"\xef\xbb\xbfdata: x"]),
    st.binary(max_size=12),
    st.binary(max_size=12).map(lambda value: b"data: " + value),
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r", b""])), max_size=30).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=20))
def test_any_stream_cut_anywhere_has_the_frames_of_the_plain_reading(stream: bytes, cuts: list[int]) -> None:
    at = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[begin:end] for begin, end in itertools.pairwise(at)]
    assert parsed(chunks) == sidecar_reference.frames(stream)


@given(stream=STREAMS, limit=st.integers(8, 40), cuts=st.lists(st.integers(0, 400), max_size=20))
def test_a_limit_changes_no_frame_below_it(stream: bytes, limit: int, cuts: list[int]) -> None:
    at = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    frames, found = Frames(limit), []
    expected = sidecar_reference.frames(stream)
    try:
        for begin, end in itertools.pairwise(at):
            found.extend(frames.feed(stream[begin:end]))
        found.extend(frames.end())
    except FrameTooLarge:
        assert found == expected[: len(found)]
    else:
        assert found == expected

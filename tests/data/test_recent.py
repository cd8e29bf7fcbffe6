"""What is remembered about the latest images."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from PIL import Image

from understudy.data import labelled_set
from understudy.data.labelled_set import decode, decode_once, encode, hash_once, pixel_hash
from understudy.data.recent import Recent


@given(room=st.integers(0, 12), sizes=st.lists(st.integers(0, 8), max_size=30))
def test_the_latest_values_are_remembered_as_far_as_they_fit(room, sizes):
    """Against a list that is searched; a value is its own size."""
    recent, latest, found = Recent[int](room=room, size=lambda value: value), [], []

    def find(size):
        found.append(size)
        return size

    for size in sizes:
        asked = len(found)
        assert recent.get(bytes([size]), lambda size=size: find(size)) == size
        assert (len(found) > asked) == (size not in latest)
        latest = [*(other for other in latest if other != size), size]
        while sum(latest) > room and len(latest) > 1:
            latest.pop(0)


def test_a_cache_that_shrinks_forgets_all_but_the_latest():
    recent = Recent[int](room=10, size=lambda value: value)
    for size in (3, 4, 2):
        recent.get(bytes([size]), lambda size=size: size)
    recent.shrink(0)
    assert [recent.get(bytes([size]), lambda: 0) for size in (5, 5, 3, 3)] == [0, 0, 0, 0]


def test_a_remembered_image_can_be_changed_by_nobody():
    data = encode(np.full((3, 4, 4), 7, np.uint8))
    first = decode_once(data)
    first.paste((0, 0, 0), (0, 0, 4, 4))
    assert decode_once(data).tobytes() == decode(data).tobytes() != first.tobytes()


def test_hashes_are_those_of_decoded_images():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    data = encode(image)
    assert hash_once(data) == hash_once(data, image) == pixel_hash(decode(data)) == pixel_hash(image)


def test_decoded_images_take_at_most_256_mib(monkeypatch):
    monkeypatch.setattr(labelled_set._DECODED, "_left", 4 * 16)
    for level in range(3):
        decode_once(encode(np.full((3, 4, 4), level, np.uint8)))
        assert labelled_set._DECODED._left >= 0

"""The digest that tells whether two uploads are the same, however they were cut."""

import random

import pytest

from mistudio_datasets.domain.uploads import BLOCK_BYTES, ContentDigest

CONTENT = random.Random(1).randbytes(2 * BLOCK_BYTES + 12_345)  # test data, not a key


def digest(content: bytes) -> str:
    whole = ContentDigest()
    whole.update(content)
    return whole.hexdigest()


@pytest.mark.parametrize("piece", [1 << 20, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES])
def test_pieces_of_any_size_make_the_same_digest(piece: int) -> None:
    pieces = ContentDigest()
    for start in range(0, len(CONTENT), piece):
        pieces.update(CONTENT[start : start + piece])
    assert pieces.hexdigest() == digest(CONTENT)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_it_goes_on_from_any_complete_block_without_the_bytes_before(blocks: int) -> None:
    before = ContentDigest()
    before.update(CONTENT[: blocks * BLOCK_BYTES + 77])
    after = ContentDigest(before.blocks)
    after.update(CONTENT[blocks * BLOCK_BYTES :])
    assert after.hexdigest() == digest(CONTENT)


def test_every_other_content_has_another_digest() -> None:
    others = [CONTENT[:-1], CONTENT + b"\0", CONTENT[BLOCK_BYTES:], CONTENT[:BLOCK_BYTES], b"\0" + CONTENT[1:], b""]
    assert len({digest(content) for content in [CONTENT, *others]}) == 1 + len(others)

"""How often each id occurs."""

import numpy as np

from charlm.text.counting import BLOCK, count_ids


def test_ids_that_do_not_occur_count_zero() -> None:
    assert count_ids(np.array([3, 1, 3], np.uint8), 5).tolist() == [0, 1, 0, 2, 0]


def test_blocks_are_added_up() -> None:
    ids = np.arange(2 * BLOCK + 3, dtype=np.uint32) % 3
    assert count_ids(ids, 3).tolist() == [(len(ids) + 2) // 3, (len(ids) + 1) // 3, len(ids) // 3]

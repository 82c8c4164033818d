"""The most memory of a process: told anew from any moment on."""

import numpy as np

from raysyn.compute.inside import Inside
from raysyn.compute.peak import GPU_MEMORY, MEMORY, forget, held, largest


def test_what_was_held_in_between_is_told_until_it_is_forgotten() -> None:
    forget()
    before = held()[MEMORY]
    np.ones(2**25).sum()  # of zeros, nothing would be held
    after = held()[MEMORY]
    assert after - before > 0.9 * 2**28
    compute = Inside()
    compute.forget_peaks()
    assert compute.peaks()[MEMORY] < after - 0.9 * 2**28


def test_of_several_the_largest_each() -> None:
    assert largest([{MEMORY: 3}, {MEMORY: 2, GPU_MEMORY: 5}]) == {MEMORY: 3, GPU_MEMORY: 5}
    assert largest([]) == {}

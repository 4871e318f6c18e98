"""Arithmetic with subnormal numbers, which another library may have switched off."""

import numpy as np
import pytest

from churn.core.floats import standard_floats
from tests.support.subnormals import subnormals_off

TINY = np.array([1e-40], np.float32)


def kept():
    return bool((TINY > 0).all() and (TINY * np.float32(1) > 0).all())


def test_a_block_has_subnormal_numbers_and_leaves_the_thread_as_it_was():
    assert kept()
    with subnormals_off():
        assert not kept()
        with standard_floats():
            assert kept()
        assert not kept()
    assert kept()


def test_an_error_in_the_block_leaves_the_thread_as_it_was_too():
    with subnormals_off():
        with pytest.raises(ZeroDivisionError), standard_floats():
            raise ZeroDivisionError
        assert not kept()

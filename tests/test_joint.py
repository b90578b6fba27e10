"""Layers that read one another, measured jointly: against the joint state by brute force."""

import numpy as np
import pytest
from joint_models import NETS, both_ways, brute_force

import throughtime as tt

CLOSE = 1e-6


@pytest.mark.parametrize("name", NETS)
def test_what_a_loss_sends_to_all_layers_is_that_of_brute_force(name: str) -> None:
    (joint,) = tt.observe(net := NETS[name](), net).joints
    reference = both_ways if joint.both_ways else brute_force
    wanted = reference(net, joint.anchors, joint.steps)
    known = ~np.isnan(joint.norms)
    np.testing.assert_allclose(joint.norms[known], wanted[known], rtol=0, atol=CLOSE)
    assert np.isneginf(wanted[~known]).all()
    assert joint.difference is not None
    assert joint.difference < CLOSE
    assert joint.far is None or joint.far < CLOSE

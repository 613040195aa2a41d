"""Distances to the nearest datum."""

from __future__ import annotations

import torch

from experiments.nearest import nearest


def test_each_is_as_far_as_the_nearest_of_the_others() -> None:
    x = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    among = torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]], [[9.0, 9.0]]])
    torch.testing.assert_close(nearest(x, among), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(nearest(among, x), torch.tensor([0.0, 0.5, 30.5]))

"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch

from pyro_vae.data.binarisation import GREY, Binarisation
from pyro_vae.data.dataset import Dataset, check_fraction, divided
from pyro_vae.data.examples import Examples


def digits(binarisation: Binarisation = GREY, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """1,797 real handwritten digits of 8×8 pixels: no download, and a model fits in seconds.

    Values are float32 `[N, 64]` in [0, 1] (17 grey levels, counts of 0–16 divided by 16); labels
    are 0–9. The split is a stratified shuffle: the digits are shuffled by `seed`, and of each class
    the fraction `test_fraction`, up to rounding, is held out
    (`sklearn.model_selection.train_test_split` with `stratify`). It does not depend on torch's
    random state. The writers of both parts are the same people.

    Source: Alpaydin and Kaynak, 1998, Optical Recognition of Handwritten Digits, UCI (its test
    part).

    Args:
        binarisation: how grey values become zeros and ones.
        test_fraction: the part held out, in (0, 1); both parts need an example of each class.
        seed: of the split.

    Raises:
        ValueError: when `test_fraction` leaves a part without examples of some class.

    >>> from pyro_vae.data import Dynamic, digits
    >>> data = digits(Dynamic())
    >>> data
    Dataset('digits', 1437 train + 360 test of shape (64,), images 8×8, Dynamic(), cpu)
    >>> data.train.labels.bincount().tolist()
    [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    """
    # Imported here: scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    check_fraction(test_fraction)
    counts, labels = load_digits(return_X_y=True)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_fraction, stratify=labels, random_state=seed
    )
    values = torch.from_numpy(counts).to(torch.float32) / 16
    whole = Examples(values, torch.from_numpy(labels).to(torch.int64), binarisation)
    return divided("digits", whole, torch.from_numpy(train), torch.from_numpy(test), (8, 8))

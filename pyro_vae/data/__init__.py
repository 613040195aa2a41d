"""Data as tensors on the support of the likelihood, on the device where they are used."""

from pyro_vae.data import densities
from pyro_vae.data._arrays import arrays
from pyro_vae.data._celeba import celeba
from pyro_vae.data._digits import digits
from pyro_vae.data._errors import DataError
from pyro_vae.data._frey import frey_faces
from pyro_vae.data._mnist import mnist
from pyro_vae.data.binarisation import Binarisation, Dynamic, Fixed, Grey, Threshold
from pyro_vae.data.dataset import Dataset
from pyro_vae.data.examples import Examples
from pyro_vae.data.idx import read_idx

__all__ = [
    "Examples",
    "Dataset",
    "Binarisation",
    "Grey",
    "Dynamic",
    "Fixed",
    "Threshold",
    "digits",
    "mnist",
    "frey_faces",
    "celeba",
    "arrays",
    "densities",
    "read_idx",
    "DataError",
]

"""arviz's container under both versions: ``InferenceData`` (0.x) or xarray's ``DataTree`` (1.x).

The only module that looks at the difference. Both sides are built from, and taken apart into, the
same thing: one ``xarray.Dataset`` a group, and the root's attributes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import xarray as xr

with warnings.catch_warnings():
    # arviz 0.23 announces arviz 1 at import, as a FutureWarning; this module is the answer to it.
    warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
    import arviz as az

# Not `hasattr`: arviz 1 answers that with a warning about the migration.
HAS_INFERENCE_DATA: bool = "InferenceData" in vars(az)

_CLASS: Any = az.InferenceData if HAS_INFERENCE_DATA else xr.DataTree

if TYPE_CHECKING:
    Container: TypeAlias = Any  # which of the two it is, only the installed arviz knows
else:
    Container = _CLASS


def build(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, object]) -> Container:
    """The installed arviz's container holding ``groups``, with ``attrs`` at its root."""
    if HAS_INFERENCE_DATA:
        return _CLASS(attrs=dict(attrs), **groups)
    return _tree(groups, attrs)


def to_tree(data: Container) -> xr.DataTree:
    """The container as an xarray tree: the one form that is written to files."""
    if not isinstance(data, _CLASS):
        raise TypeError(
            f"save: expected arviz's {_CLASS.__name__}; got {type(data).__name__}; "
            "pass what to_arviz returned."
        )
    if HAS_INFERENCE_DATA:
        return _tree({name: data[name] for name in data.groups()}, data.attrs)
    return data


def from_tree(tree: xr.DataTree) -> Container:
    """The inverse of :func:`to_tree`."""
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    return build(groups, {str(name): value for name, value in tree.attrs.items()})


def _tree(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, object]) -> xr.DataTree:
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=dict(attrs)), **groups})

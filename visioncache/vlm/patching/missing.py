"""Missing: one line about a name that this version of mlx-vlm does not have."""

from __future__ import annotations

from visioncache.vlm.families.proven import versions_with
from visioncache.vlm.scope.code import version


class MissingNameError(RuntimeError):
    """mlx-vlm is without a name that a cache needs; nothing was attached."""


def missing(name: str, where: str, package: str = "") -> MissingNameError:
    """Say what is missing, which version has it, and what to do.

    Args:
        name: the name.
        where: of what it should be a part.
        package: the family's package in `mlx_vlm.models`, where it is one family's.
    """
    installed = version("mlx-vlm")
    known = versions_with(package)
    if installed in known:
        way = "pass on what mlx_vlm.load returned"
    elif known:
        way = f"mlx-vlm {known[-1]} has it: pip install 'mlx-vlm=={known[-1]}'"
    else:
        way = "no version that has it is known; without attach() the model works as always"
    return MissingNameError(f"mlx-vlm {installed} has no `{name}` in {where}, which a cache needs; {way}")

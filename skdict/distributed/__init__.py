"""Training on more than one machine."""

from skdict.distributed.dask import fit

__all__ = ["fit"]

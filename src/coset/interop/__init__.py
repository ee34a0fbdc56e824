"""One file per neighbour library, imported on demand: ``coset.interop.ase``, ``coset.interop.pyg``, ``coset.interop.vit``."""

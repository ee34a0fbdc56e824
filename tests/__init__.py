"""The tests mirror src/coset; laws run over the zoo, a registry of every group, action and frame."""

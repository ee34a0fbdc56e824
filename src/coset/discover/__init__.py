"""Discovering symmetry: which parameters share a value, which group is behind them, which generators move a function along itself."""

__all__: list[str] = []

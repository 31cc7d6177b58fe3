"""WorldFlux: run one recipe on any machine you trust, keep one manifest anyone can verify."""

from worldflux.metrics import log

__all__ = ["__version__", "log"]

__version__ = "0.1.0"

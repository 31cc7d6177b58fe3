"""WorldFlux: run one recipe on any machine you trust, keep one manifest anyone can verify."""

__version__ = "0.1.0"

"""What plugin authors test with: the conformance suite that every runtime inherits."""

from worldflux.testing.runtime_suite import RuntimeSuite

__all__ = ["RuntimeSuite"]

"""The rooms behind `worldflux.runtime.envcache`: how virtual environments are made and kept."""

"""A record of a run that other people's tools can verify: BagIt, RO-Crate, in-toto, Sigstore bundles.

Nothing here reads the environment, the configuration or the network: callers say where things are.
"""

"""Runs that travel: keys, what is sent to a server, and how it goes on after a failure."""

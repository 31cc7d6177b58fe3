"""The language in which runs are asked for, and what it means to a database.

`parse` reads a filter such as `status = failed and metrics.loss < 0.1`; see `language.md`.
Reading needs no database and none of the server's libraries.
"""

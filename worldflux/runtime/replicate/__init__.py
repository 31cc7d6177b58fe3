"""The rooms behind runtime=replicate."""

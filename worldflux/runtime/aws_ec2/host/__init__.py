"""What runs on the rented machine: sent there as one file, needs only Python 3.8 and its library."""

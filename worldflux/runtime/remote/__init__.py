"""What every runtime on a foreign machine needs: the files that travel, the agent there, the way home."""

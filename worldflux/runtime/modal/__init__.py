"""The rooms behind runtime=modal and runtime=modal-command."""

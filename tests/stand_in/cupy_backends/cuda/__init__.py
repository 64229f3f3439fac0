"""See cupy_backends."""

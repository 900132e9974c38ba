"""The stages of `probe`."""

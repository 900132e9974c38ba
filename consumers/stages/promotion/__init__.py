"""The stages of `promotion`."""

"""The stages of `benchmark`: its files are checked, and its model is asked, item by item."""

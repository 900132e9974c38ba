"""`noop`: one stage that does nothing."""

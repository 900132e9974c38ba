"""A request comes in: checked, written as a row with its message, answered. Thin: no work is done here."""

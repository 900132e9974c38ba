"""Kiwi's work on tenants' texts, in isolated processes that share one loaded Kiwi: documents, questions, answers."""

"""`welip tune`: finds settings that suit a collection, with questions whose documents are known. Needs no server."""

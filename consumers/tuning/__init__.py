"""`welip tune`: which settings suit a collection, found on questions whose documents are known. Needs no server."""

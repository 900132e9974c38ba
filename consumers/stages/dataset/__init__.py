"""`dataset`: the rows are read and compared, questions are looked for in a collection, and the findings are counted."""

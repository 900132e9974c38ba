"""How a judge scores an answer: what it is asked, how its replies are read and kept, what scores are made of."""

"""OpenAI's requests and answers, and what they are here: a request becomes the input of a kind, a result an answer."""

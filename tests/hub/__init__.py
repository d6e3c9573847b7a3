"""A hub on loopback, so that tests run the real clients of the Hugging Face hub.

`repositories` keeps models and data sets with their commits in a folder, `answers` says what the
hub says to a request, `server` speaks HTTP and breaks where a test asks for it, `models` and
`data_sets` make the stand-ins, `fixtures` hands all of it to tests.
"""

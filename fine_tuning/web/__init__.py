"""The local page: a server of the standard library, the one thread that asks the model, and the files of the page."""

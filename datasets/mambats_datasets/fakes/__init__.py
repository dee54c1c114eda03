"""Tiny files in the true layouts of the corpora, written for tests and tours: `fakes.euroc.fake(folder)`.

One module a corpus with one function, `fake(folder, ...)`: it writes what the corpus holds, small and seeded, and
returns the path that its reader takes. Nothing in them was copied from the corpus.
"""

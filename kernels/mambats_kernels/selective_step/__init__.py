"""One token of the selective scan by a kernel of its own: where the state is large and the work is little."""

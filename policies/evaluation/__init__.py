"""The project's own labelled set: hand-written sentences and documents, synthetic values, and what makes one from the other."""

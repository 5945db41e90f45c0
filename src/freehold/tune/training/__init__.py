"""Training on the tokens that are served: `train` takes a specification to an adapter.

Room: tune. What imports torch is imported when it is asked for.
"""

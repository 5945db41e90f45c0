"""Teaching models: data sets, training, and handing on what was taught.

Room: tune. The only one that may import torch; must not know HTTP or terminals.
"""

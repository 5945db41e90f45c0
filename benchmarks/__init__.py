"""Claims about speed, exactness and memory, each measured beside its peer in the same run."""

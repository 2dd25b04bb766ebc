"""Whether what a version is given has drifted from its training: a reason to train again."""

"""MLSys·im: a modelling library for machine learning systems."""

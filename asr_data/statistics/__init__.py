"""Figures over labelled items: areas under ROC curves, pairs in order, cluster bootstraps. Needs numpy alone."""

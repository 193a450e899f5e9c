"""Measures of rewards and masks against labels."""

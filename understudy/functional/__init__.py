"""Formulas only: arrays in, arrays out; no files, no devices, no logging, no global randomness."""

"""The bundled miniature: weights, the glyphs it was trained on, and the script that trains it."""

"""The demonstration problem of ``flows demo``.

A small network on a few digits with noisy labels. Fitting the noise makes the loss sharpen for a
long time, so that gradient descent spends most of the run at the edge of stability, with up to
three critical directions. No download is needed.
"""

LR = 0.2
STEPS = 500
DATA = {"task": "digits", "examples": 200, "label_noise": 0.4, "loss": "mse"}
NETWORK = {"model": "mlp", "width": 24}

"""The demonstration problem of ``flows demo``.

A small network on a few digits with noisy labels. Fitting the noise makes the loss sharpen for a
long time, so that gradient descent spends most of the run at the edge of stability, with four
critical directions at the end. In float32, as networks are trained, rounding starts the
oscillation sooner after the flow meets the edge than in float64. No download is needed.
"""

LR = 0.3
STEPS = 400
DTYPE = "float32"
DATA = {"task": "digits", "examples": 200, "label_noise": 0.4, "loss": "mse"}
NETWORK = {"model": "mlp", "width": 24}
